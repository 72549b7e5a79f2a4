// What one virtual rank knows and holds while it runs: its groups, its tokens, its shards, its activations.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "oracle/model/batch.hpp"
#include "oracle/model/result.hpp"
#include "sim/collective.hpp"
#include "sim/faults.hpp"
#include "sim/memory.hpp"
#include "sim/plan/dispatch_plan.hpp"
#include "sim/plan/plan.hpp"
#include "sim/shared_plans.hpp"

namespace shardproof::sim {

// A run of consecutive tokens of one sequence, as rows of a rank's activations.
struct SequenceRows {
    std::int64_t begin = 0;  // first row
    std::int64_t end = 0;    // one past the last
};

struct RankState {
    Rank rank;
    Group tp;       // dense mesh
    Group fsdp;     // dense mesh
    Group ep;       // sparse mesh
    Group efsdp;    // sparse mesh
    Group etp;      // sparse mesh; alone where it has no such axis
    std::vector<TokenId> tokens;          // of this rank's data-parallel share, sequence by sequence
    std::vector<std::int64_t> positions;  // of each token in its sequence
    std::vector<SequenceRows> sequences;  // rows of `tokens`
    Run slice;                            // rows that are this rank's own share on tp: its sequence-parallel slice
    std::vector<HeldParam> held;          // of the current stage
    Rows hidden;                          // with sequence parallelism the slice's rows, else all
    RankRecord record;                    // of the current stage
};

// What all ranks of a run share and none may change.
struct RunContext {
    const Plan* plan = nullptr;
    SharedPlans* shared = nullptr;        // of the same plan
    Arithmetic arithmetic = Arithmetic::f32;
    std::int64_t longest_sequence = 0;    // of the whole batch: dynamic RoPE scaling depends on it
    const Faults* faults = nullptr;
    [[nodiscard]] const ModelConfig& config() const { return plan->config; }
    [[nodiscard]] bool sequence_parallel() const { return plan->dims.sequence_parallel() && plan->dims.tp() > 1; }
};

[[nodiscard]] RankState make_rank_state(const Plan& plan, const Batch& batch, Rank rank);

}  // namespace shardproof::sim
