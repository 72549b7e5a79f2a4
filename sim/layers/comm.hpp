// Collectives on rows of activations and on parameter shards, as a rank's program writes them. A group of one moves
// nothing and calls nobody.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "sim/layers/ops.hpp"
#include "sim/rank_state.hpp"
#include "sim/task.hpp"
#include "sim/world.hpp"

namespace shardproof::sim {

// The sum of all members' rows, on all of them; rounded once.
Task<void> all_reduce_rows(RankContext& rank, const Group& group, Rows& rows, Arithmetic arithmetic,
                           std::string_view what);
// All members' rows, stacked in group order. rows_of[i]: rows that member i gives.
Task<Rows> all_gather_rows(RankContext& rank, const Group& group, const Rows& mine,
                           const std::vector<std::int64_t>& rows_of, Arithmetic arithmetic, std::string_view what);
// The sum of all members' rows, each member getting its rows_of[i] consecutive ones; rounded once.
Task<Rows> reduce_scatter_rows(RankContext& rank, const Group& group, const Rows& partial,
                               const std::vector<std::int64_t>& rows_of, Arithmetic arithmetic, std::string_view what);
// Rows to and from each member: `send` is ordered by member.
Task<Rows> all_to_all_rows(RankContext& rank, const Group& group, const Rows& send,
                           const std::vector<std::int64_t>& rows_to, const std::vector<std::int64_t>& rows_from,
                           Arithmetic arithmetic, std::string_view what);
Task<std::vector<std::int64_t>> all_to_all_counts(RankContext& rank, const Group& group,
                                                  const std::vector<std::int64_t>& counts,
                                                  const std::vector<std::int64_t>& counts_to,
                                                  const std::vector<std::int64_t>& counts_from, std::string_view what);

// What this rank holds of that role in the current stage (SP_ASSERT: it holds one).
[[nodiscard]] const HeldParam& held_of(const RankState& state, const RunContext& run, Role role);

// This rank's parameter of that role in the current stage, its fsdp (or efsdp) shards gathered, widened to f32 (and in
// bf16 arithmetic rounded to bf16).
Task<Weight> gathered(RankContext& rank, const RankState& state, const RunContext& run, Role role);

}  // namespace shardproof::sim
