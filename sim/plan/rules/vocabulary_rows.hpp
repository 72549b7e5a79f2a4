// Vocabularies that are padded before they are cut: a rank holds what is real of its equal part of the padded rows.
#pragma once
#include <cstdint>

#include "sim/plan/placement.hpp"

namespace shardproof {

[[nodiscard]] constexpr std::int64_t padded_to(std::int64_t extent, std::int64_t multiple) {
    return (extent + multiple - 1) / multiple * multiple;
}

// Rows of `vocab` over `parts` ranks, padded to a multiple of `multiple`, which `parts` divides (SP_ASSERT): Shard(0)
// where that is the same, else an owner list.
[[nodiscard]] Placement padded_vocabulary(std::int64_t vocab, std::int64_t multiple, std::int64_t parts);

}  // namespace shardproof
