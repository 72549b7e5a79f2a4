#!/usr/bin/env bash
# no_serialized_wgmma.sh COMPILER ARGS...: compiles, and fails where ptxas says that it serialised wgmma (C7510 and its
# kin): the kernel is right, and several times slower. To ptxas that is only information, which no option makes an error.
set -uo pipefail
messages=$(mktemp)
trap 'rm -f -- "$messages"' EXIT
"$@" 2> "$messages"
status=$?
cat -- "$messages" >&2
if ((status == 0)) && grep -qE '\(C7510\)|wgmma\.mma_async instructions are serialized' "$messages"; then
    while (($#)); do
        if [[ $1 == -o && $# -gt 1 ]]; then rm -f -- "$2"; fi
        shift
    done
    echo "error: ptxas serialised wgmma (above); is this built with NDEBUG?" >&2
    exit 1
fi
exit "$status"
