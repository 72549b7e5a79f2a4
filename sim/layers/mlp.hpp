// The feed-forward block of one layer: dense, or a mixture of experts.
#pragma once
#include "sim/layers/comm.hpp"

namespace shardproof::sim {

// state.hidden += mlp(rms_norm(state.hidden)): w1 and w3 split over tp by rows, w2 by columns.
Task<void> dense_block(RankContext& rank, RankState& state, const RunContext& run);

// state.hidden += moe(rms_norm(state.hidden)).
// ep > 1: each rank dispatches its own rows (its sequence-parallel slice, or without sequence parallelism the slice of
// its rows that tp deals it) over ep, and the slices are summed or kept. ep = 1: every tp rank routes all rows and
// holds a part of every expert's hidden width; its output is a partial sum over tp. Source: facts 3.2, 4.1 to 4.4.
// A shared expert works on every row as a dense MLP does, split over tp; its sum over tp is a collective of its own.
Task<void> moe_block(RankContext& rank, RankState& state, const RunContext& run, std::int64_t layer);

}  // namespace shardproof::sim
