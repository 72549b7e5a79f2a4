#!/bin/sh
# new_attention.sh CXX ROOT EIGEN: an attention added to the variant, with no maths anywhere, must be refused by the
# compiler wherever attention means something. A copy of config.hpp with a second alternative is found first.
set -eu
cxx=$1 root=$2 eigen=$3
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
header=oracle/model/config.hpp
mkdir -p "$copy/oracle/model"
sed 's/^using AttentionSpec = std::variant<GroupedQueryAttention, Llama4Attention>;$/struct LatentAttention { bool operator==(const LatentAttention\&) const = default; };\nusing AttentionSpec = std::variant<GroupedQueryAttention, Llama4Attention, LatentAttention>;/' \
    "$root/$header" > "$copy/$header"
grep -q 'variant<GroupedQueryAttention, Llama4Attention, LatentAttention>' "$copy/$header"

compiles() {
    LC_ALL=C "$cxx" -std=c++20 -fsyntax-only -DFMT_HEADER_ONLY -I"$copy" -I"$root" -isystem "$eigen" "$root/$1" \
        2> "$copy/errors"
}
refused() {
    if compiles "$1"; then
        echo "$1 compiles although LatentAttention has no maths there" >&2
        exit 1
    fi
    grep -q 'LatentAttention' "$copy/errors" || { cat "$copy/errors" >&2; exit 1; }
}
compiles oracle/model/family.cpp || { cat "$copy/errors" >&2; exit 1; }
refused oracle/model/config.cpp
refused oracle/attention.cpp
refused oracle/bounded_block.cpp
refused sim/layers/attention.cpp
refused sim/plan/plan_hash.cpp
refused sim/plan/rules/titan.cpp
