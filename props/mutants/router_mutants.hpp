// Mutants of what becomes of a router's scores: their order, their precision, their scale, and the weights that
// experts' outputs get.
#pragma once
#include <optional>

#include "props/laws/subject.hpp"

namespace shardproof::props::mutant {

// The best expert's output joins the sum without its routing weight.
[[nodiscard]] std::optional<Planted> term_without_weight(const Healthy& healthy);
// The router's scale: in the weights and once more in the sum; never; not where weights are normed.
[[nodiscard]] std::optional<Planted> scale_twice(const Healthy& healthy);
[[nodiscard]] std::optional<Planted> scale_never(const Healthy& healthy);
[[nodiscard]] std::optional<Planted> scale_not_where_normed(const Healthy& healthy);
// Softmax over the chosen experts alone where the model wants it over all.
[[nodiscard]] std::optional<Planted> softmax_after_top_k(const Healthy& healthy);
// Odd ranks break ties to the higher id.
[[nodiscard]] std::optional<Planted> ties_as_each_rank_likes(const Healthy& healthy);
// Weights in bf16 where the router is promised in f32.
[[nodiscard]] std::optional<Planted> router_in_bf16(const Healthy& healthy);
// Weights recovered from biased scores, (score + bias) - bias, which cancels.
[[nodiscard]] std::optional<Planted> weight_through_a_bias(const Healthy& healthy);
// A row of NaN scores chooses expert 0 K times.
[[nodiscard]] std::optional<Planted> nan_row_chooses_one(const Healthy& healthy);

}  // namespace shardproof::props::mutant
