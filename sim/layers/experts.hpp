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

// Whom a rank works on rows with: `peers` hold other experts (they are the peers of its ExpertMap); `parts` hold the
// other parts of the hidden width of the same experts, and only they.
struct ExpertGroups {
    const Group& peers;
    const Group& parts;
};

// Dispatch over the peers, local experts, combine. x [n,D] and `routing` are of this rank's own rows. Where experts are
// cut, the rows that reach all parts are gathered, each part adds its share, and the sums go back. Returns [n,D]: the
// weighted sum of each row's K expert outputs, in the order chosen. The groups outlive the task.
Task<Rows> routed_experts(RankContext& rank, const RunContext& run, ExpertGroups groups, const ExpertMap& experts,
                          const ExpertWeights& weights, const Rows& x, const Routing& routing, std::int64_t layer);

}  // namespace shardproof::sim
