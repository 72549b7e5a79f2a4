#!/usr/bin/env bash
# records_test.sh ROOT: every record is one line of JSON with its provenance; says which were measured with other sources
# under gpu/ than these (77, skipped), and fails where one is broken.
set -euo pipefail
root=$1
now=$(bash "$root/cmake/gpu_hash.sh" "$root")
stale=0 broken=0
for file in "$root"/reports/records/*.jsonl; do
    [[ -e $file ]] || continue
    number=0
    while IFS= read -r line; do
        number=$((number + 1))
        for key in kind commit gpu_hash date machine gpu driver result; do
            if [[ $line != '{'*"\"$key\":"*'}' ]]; then
                echo "${file##*/}:$number: no \"$key\"" >&2
                broken=1
            fi
        done
        if [[ $line != *"\"gpu_hash\":\"$now\""* && $line != *'"gpu_hash":null'* ]]; then
            [[ $line =~ \"kind\":\"([a-z]+)\" ]] && echo "${file##*/}:$number: ${BASH_REMATCH[1]} is older than gpu/"
            stale=1
        fi
    done < "$file"
done
((broken == 0)) || exit 1
((stale == 0)) || exit 77
