// Mutants of the rows of an MLP block: what is added to them, and what rows that are none do to the others.
#pragma once
#include <optional>

#include "props/laws/subject.hpp"

namespace shardproof::props::mutant {

// What all tp ranks hold alike is added before their sum, so that it counts once a rank. The families have no shared
// expert: the residual stands for it.
[[nodiscard]] std::optional<Planted> replicated_term_before_the_sum(const Healthy& healthy);
// A quantity of all rows, such as the scale of a block, is taken over dummy rows as well: one of NaN reaches every row.
[[nodiscard]] std::optional<Planted> scale_over_pad_rows(const Healthy& healthy);
// Where tp ranks deal rows unevenly, a short slice is filled up with its last row, and what comes of the rows that fill
// it is added to that row.
[[nodiscard]] std::optional<Planted> filling_rows_joined(const Healthy& healthy);
// The rows that a tp rank leaves to the others hold what the memory held before.
[[nodiscard]] std::optional<Planted> rows_not_cleared(const Healthy& healthy);

}  // namespace shardproof::props::mutant
