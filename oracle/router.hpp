// The router: scores of all experts, the top k of them, and the weight that each chosen expert gets.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "oracle/model/config.hpp"
#include "oracle/model/tensor.hpp"

namespace shardproof::oracle {

// For each expert the lowest one whose row of the gate [E,D] is the same bytes: their scores are equal by construction.
[[nodiscard]] std::vector<std::int64_t> lowest_twins(const TensorView& gate);
// Gives twins one logit: a matrix product may sum two equal columns in two orders. Logits [n,E] row-major.
void tie_twins(const std::vector<std::int64_t>& lowest_twins, std::span<double> logits);

// One token's logits [E] to scores, in place: softmax over all experts, or a sigmoid each.
void scores_of(const RouterSpec& spec, std::span<double> logits);

// Ids of the k largest scores, largest first, ties to the lowest id.
[[nodiscard]] std::vector<std::int64_t> top_k(std::span<const double> scores, std::int64_t k);

// The weight of each of `ids`, in their order: its score, divided by the sum of theirs with norm_topk, times scale.
[[nodiscard]] std::vector<double> weights_of(const RouterSpec& spec, std::span<const double> scores,
                                             std::span<const std::int64_t> ids);

struct Routing {
    std::vector<std::int64_t> ids;  // [n,K] row-major
    std::vector<double> weights;  // [n,K]
};
// Logits [n,E] row-major, overwritten by the scores.
[[nodiscard]] Routing route(const RouterSpec& spec, std::span<double> logits);

}  // namespace shardproof::oracle
