// Embedding and head, split over tp by vocabulary rows.
#pragma once
#include "oracle/model/batch.hpp"
#include "sim/layers/comm.hpp"

namespace shardproof::sim {

// state.hidden = embeddings of the rank's tokens. Each tp rank looks up the ids it holds, zeros elsewhere; the sum is
// exact. `ids` runs parallel to state.tokens.
Task<void> embedding_block(RankContext& rank, RankState& state, const RunContext& run,
                           const std::vector<std::int64_t>& ids);

// Final norm and head: logits [rows of this rank, V], every tp rank's vocabulary columns gathered.
Task<Rows> head_block(RankContext& rank, RankState& state, const RunContext& run);

}  // namespace shardproof::sim
