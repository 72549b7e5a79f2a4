// Forward: runs a Plan on virtual ranks, stage by stage, so that one stage's weights are held at a time.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "oracle/model/batch.hpp"
#include "oracle/model/result.hpp"
#include "sim/memory.hpp"
#include "sim/rank_state.hpp"
#include "sim/world.hpp"

namespace shardproof::sim {

struct ForwardOptions {
    Arithmetic arithmetic = Arithmetic::f32;
    std::uint64_t seed = 0;            // of the scheduler
    const Faults* faults = nullptr;    // outlives the Forward
    Trace* trace = nullptr;            // appended to
};

struct StageOutcome {
    StageRecord record;                // incomplete when stalled
    LoadReport load;
    std::optional<Stall> stall;        // the run ends here
};

// Stages: embeddings, each layer, head.
class Forward {
public:
    // Throws InputError for a layout that virtual ranks do not run (cp > 1, pp > 1).
    // `plan`, `checkpoint` and `batch` outlive it. Sequences' dp_idx are below plan.dims.batch().
    Forward(const Plan& plan, const Checkpoint& checkpoint, const Batch& batch, const ForwardOptions& options);

    [[nodiscard]] std::int64_t num_stages() const { return plan_.config.num_layers + 2; }
    [[nodiscard]] bool done() const { return next_stage_ == num_stages() || stalled_; }
    // Loads the next stage's shards into all ranks and runs it.
    StageOutcome next();
    // What a rank holds of the stage that ran last.
    [[nodiscard]] std::span<const HeldParam> held(Rank rank) const { return ranks_[rank.idx()].held; }

private:
    [[nodiscard]] std::vector<std::size_t> params_of_stage(std::int64_t stage) const;
    Task<void> program(RankContext& rank, std::int64_t stage);

    const Plan& plan_;
    const Checkpoint& checkpoint_;
    std::vector<std::vector<std::int64_t>> ids_;  // one list a data-parallel rank
    ForwardOptions options_;
    SharedPlans shared_;
    RunContext run_;
    World world_;
    std::vector<RankState> ranks_;
    std::int64_t next_stage_ = 0;
    bool stalled_ = false;
};

}  // namespace shardproof::sim
