// The attention block of one layer, as a rank sees it: its heads, all tokens of its data-parallel share.
#pragma once
#include <cstdint>
#include <limits>
#include <vector>

#include "sim/layers/comm.hpp"

namespace shardproof::sim {

// state.hidden += attention(rms_norm(state.hidden)). Heads are split over tp, wq, wk, wv by rows and wo by columns, so
// the outputs are partial sums over tp: all-reduced, or with sequence parallelism reduce-scattered.
Task<void> attention_block(RankContext& rank, RankState& state, const RunContext& run, std::int64_t layer);

// A chunk that no sequence ends.
inline constexpr std::int64_t kWholeSequence = std::numeric_limits<std::int64_t>::max();

// Causal attention of each sequence by itself, or of each `chunk` of its tokens. q [n, heads*head_dim], k and v
// [n, kv_heads*head_dim]; query head h reads kv head h / (heads / kv_heads). Returns [n, heads*head_dim].
[[nodiscard]] Rows causal_attention(const Rows& q, const Rows& k, const Rows& v, std::int64_t head_dim,
                                    const std::vector<SequenceRows>& sequences, Arithmetic arithmetic,
                                    std::int64_t chunk = kWholeSequence);

}  // namespace shardproof::sim
