#!/usr/bin/env bash
# Every C++ source is as clang-format 19 leaves it; with -i, makes it so. Exit 77 where there is no clang-format 19.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
if ! command -v clang-format-19 > /dev/null; then
    echo "no clang-format-19"
    exit 77
fi
format() {
    local folders=()
    for folder in oracle sim gpu props bench reports; do [[ -d $folder ]] && folders+=("$folder"); done
    find "${folders[@]}" \( -name '*.[ch]pp' -o -name '*.cu' -o -name '*.cuh' \) -print0 |
        xargs -0 -r clang-format-19 "$@"
}
if [[ ${1:-} == -i ]]; then
    format -i
elif ! complaints=$(format --dry-run -Werror 2>&1); then
    echo "not formatted (cmake --build build --target format):"
    sed -nE 's/^([^ :]+):[0-9]+:[0-9]+: .*/\1/p' <<< "$complaints" | sort -u
    exit 1
fi
