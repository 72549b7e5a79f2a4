// Routed experts: rows travel to the ranks that hold their experts, are worked on, and come back to be combined.
#pragma once
#include "sim/layers/comm.hpp"

namespace shardproof::sim {

// The local experts' weights, stacked: w1, w3 [E_l,F,D], w2 [E_l,D,F].
struct ExpertWeights {
    Weight w1;
    Weight w2;
    Weight w3;
};

// w2(silu(w1 x) * w3 x) for each expert's consecutive rows. x [rows,D], expert-major.
[[nodiscard]] Rows run_experts(const ExpertWeights& weights, const Rows& x,
                               const std::vector<std::int64_t>& rows_of_expert, Arithmetic arithmetic);

// Dispatch over `group` (its members are the peers of `experts`), local experts, combine. x [n,D] and `routing` are of
// this rank's own rows. Returns [n,D]: the weighted sum of each row's K expert outputs, in the order chosen.
Task<Rows> routed_experts(RankContext& rank, const RunContext& run, const Group& group, const ExpertMap& experts,
                          const ExpertWeights& weights, const Rows& x, const Routing& routing, std::int64_t layer);

}  // namespace shardproof::sim
