#!/usr/bin/env bash
# gpu_hash.sh ROOT: one hash of all sources under gpu/, by which a record says what it measured.
set -euo pipefail
cd -- "$1/gpu"
export LC_ALL=C
find . -type f \( -name '*.hpp' -o -name '*.cpp' -o -name '*.cuh' -o -name '*.cu' \) ! -name '*_test.*' -print0 | sort -z |
    xargs -0 sha256sum | sha256sum | cut -c 1-16
