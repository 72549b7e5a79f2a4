#!/usr/bin/env bash
# All tracked files together stay under 8 MiB, and no text file names a folder of the machine it was written on.
# Exit 77 without git or outside a clone.
set -euo pipefail
cd -- "${1:-$(dirname -- "${BASH_SOURCE[0]}")/..}"
readonly bytes_max=$((8 * 1024 * 1024))

list=$(mktemp)
trap 'rm -f -- "$list"' EXIT
# Somebody else's clone (a container's user) is no reason to refuse to list it.
if ! git -c safe.directory='*' ls-files -z > "$list" 2> /dev/null || [[ ! -s $list ]]; then
    echo "no git, or no clone"
    exit 77
fi

failed=0
bytes=$(xargs -0 -r sh -c 'for f; do [ -f "$f" ] && wc -c < "$f"; done; true' sh < "$list" | awk '{ sum += $1 } END { print sum + 0 }')
if ((bytes >= bytes_max)); then
    echo "tracked files take $bytes bytes together: must be under $bytes_max"
    failed=1
fi
if xargs -0 -r grep -nIE "(^|[^[:alnum:]_.~})-])/(work|root|home|tmp)/" -s -- < "$list"; then
    echo "absolute paths of one machine (above)"
    failed=1
fi
((failed)) || echo "$bytes bytes in tracked files"
exit "$failed"
