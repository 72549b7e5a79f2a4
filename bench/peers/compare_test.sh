#!/usr/bin/env bash
# compare_test.sh: compare.sh says in one line what it lacks.
set -euo pipefail
here=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
failed=0

# expect STATUS TEXT BUILD PYTHON
expect() {
    local said status=0
    said=$(bash "$here/compare.sh" "$3" "$4" 2>&1) || status=$?
    [[ $status == "$1" && $said == *"$2"* && $said != *$'\n'* ]] || {
        printf '%s: exit %s, wanted %s and one line with %s\n' "$said" "$status" "$1" "$2" >&2
        failed=1
    }
}

mkdir -p "$work/build/bin"
printf '#!/bin/sh\nexit 1\n' > "$work/no_torch"
chmod +x "$work/no_torch"
expect 2 "$work/nowhere/bin/scale_bench: must be built" "$work/nowhere" "$work/no_torch"
cp "$work/no_torch" "$work/build/bin/scale_bench"
expect 3 "$work/no_torch: must import torch" "$work/build" "$work/no_torch"
expect 3 "$work/nobody: must import torch" "$work/build" "$work/nobody"
exit "$failed"
