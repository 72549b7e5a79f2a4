#!/usr/bin/env bash
# fresh_machine_test.sh: fresh_machine.sh refuses folders that it has not made, and says so before anything is made. A
# stand-in for unshare that fails stops it where a folder is taken (without root it stops there by itself).
set -euo pipefail
here=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
failed=0
mkdir "$work/bin"
printf '#!/bin/sh\nexit 1\n' > "$work/bin/unshare"
chmod +x "$work/bin/unshare"

# expect STATUS FOLDER: and FOLDER is left as it is.
expect() {
    local before status=0
    before=$(find -L "$2" 2> /dev/null | sort || true)
    PATH="$work/bin:$PATH" bash "$here/fresh_machine.sh" "$2" demo 2> "$work/err" || status=$?
    [[ $status == "$1" ]] || { echo "$2: exit $status, wanted $1: $(< "$work/err")" >&2; failed=1; }
    [[ $before == "$(find -L "$2" 2> /dev/null | sort || true)" ]] || { echo "$2: was altered" >&2; failed=1; }
    [[ $status != 2 || $(< "$work/err") == *"$2: must be a new or empty folder"* ]] || { echo "$2: $(< "$work/err")" >&2; failed=1; }
}

mkdir -p "$work/full/base" "$work/full/machine" "$work/empty" "$work/ours/base"
touch "$work/ours/.made_by_fresh_machine" "$work/file"
ln -s full "$work/link_to_full"
ln -s ours "$work/link_to_ours"
ln -s nowhere "$work/dangling"
for folder in full link_to_full file dangling; do expect 2 "$work/$folder"; done
for folder in new empty ours link_to_ours; do expect 77 "$work/$folder"; done
exit "$failed"
