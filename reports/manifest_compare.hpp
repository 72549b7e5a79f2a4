// How two manifests differ, rank by rank and parameter by parameter.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reports/manifest.hpp"

namespace shardproof::reports {

struct Difference {
    std::optional<std::int64_t> rank;  // none: of the whole
    std::string param;                 // empty: of the rank
    std::string what;                  // "xxh64", "shape", "world", "not in the manifest", ...
    std::string ours;
    std::string theirs;
};

// A hash that is null on either side is left out, and counted.
struct Comparison {
    std::vector<Difference> differences;
    std::int64_t hashes_compared = 0;
    std::int64_t hashes_left_out = 0;
};

void compare_heads(const ManifestHead& ours, const ManifestHead& theirs, Comparison& comparison);
// `theirs` is null where the other manifest has no such rank.
void compare_ranks(const ManifestRank& ours, const ManifestRank* theirs, Comparison& comparison);

// Ranks of the other manifest that a world of `world` ranks does not have.
void compare_other_ranks(std::int64_t world, const std::vector<ManifestRank>& theirs, Comparison& comparison);

// "rank 3: layers.0.moe.experts.w1: xxh64: 0123..., not 4567..."
[[nodiscard]] std::string to_string(const Difference& difference);

}  // namespace shardproof::reports
