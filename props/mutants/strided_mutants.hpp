// Mutants of dims that two axes cut, one after the other: tp or ep, then FSDP.
#pragma once
#include <optional>

#include "props/laws/subject.hpp"

namespace shardproof::props::mutant {

// Where tp and FSDP cut the same dim, the loader cuts it left to right, FSDP first.
[[nodiscard]] std::optional<Planted> strided_left_to_right(const Healthy& healthy);
// Where tp and FSDP, or ep and FSDP, cut the same dim, each part is padded so that FSDP cuts it evenly; the loader
// takes the padding for rows of the checkpoint, and reads what follows it that much later.
[[nodiscard]] std::optional<Planted> padding_kept(const Healthy& healthy);

}  // namespace shardproof::props::mutant
