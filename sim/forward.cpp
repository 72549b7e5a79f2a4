#include "sim/forward.hpp"

#include <algorithm>
#include <string>

#include "oracle/model/error.hpp"
#include "sim/layers/attention.hpp"
#include "sim/layers/mlp.hpp"
#include "sim/layers/vocabulary.hpp"

namespace shardproof::sim {

Forward::Forward(const Plan& plan, const Checkpoint& checkpoint, const Batch& batch, const ForwardOptions& options)
    : plan_{plan}, checkpoint_{checkpoint}, options_{options}, shared_{plan}, world_{plan.world(), options.seed} {
    require_runnable(plan.dims);
    run_ = {.plan = &plan_,
            .shared = &shared_,
            .arithmetic = options.arithmetic,
            .longest_sequence = 0,
            .faults = options.faults};
    ids_.resize(static_cast<std::size_t>(plan.dims.batch()));
    for (const Sequence& sequence : batch.sequences) {
        SP_ASSERT(sequence.dp_idx >= 0 && sequence.dp_idx < plan.dims.batch());
        run_.longest_sequence = std::max(run_.longest_sequence, static_cast<std::int64_t>(sequence.ids.size()));
        std::vector<std::int64_t>& ids = ids_[static_cast<std::size_t>(sequence.dp_idx)];
        ids.insert(ids.end(), sequence.ids.begin(), sequence.ids.end());
    }
    world_.set_faults(options.faults);
    world_.set_trace(options.trace);
    ranks_.reserve(static_cast<std::size_t>(plan.world()));
    for (std::int64_t r = 0; r < plan.world(); ++r) ranks_.push_back(make_rank_state(plan, batch, Rank{r}));
}

std::vector<std::size_t> Forward::params_of_stage(std::int64_t stage) const {
    const bool head = stage == num_stages() - 1;
    std::vector<std::size_t> found;
    for (std::size_t p = 0; p < plan_.params.size(); ++p) {
        const Parameter& parameter = plan_.params[p].parameter;
        bool wanted = parameter.layer && *parameter.layer == stage - 1;
        if (parameter.role == Role::tok_embeddings) wanted = stage == 0 || (head && plan_.config.tie_embeddings);
        if (parameter.role == Role::final_norm || parameter.role == Role::lm_head) wanted = head;
        if (wanted) found.push_back(p);
    }
    return found;
}

Task<void> Forward::program(RankContext& rank, std::int64_t stage) {
    RankState& state = ranks_[rank.rank().idx()];
    state.record.input = stage == 0 ? Rows{} : state.hidden;
    if (stage == 0) {
        const std::int64_t dp_idx = plan_.meshes.data.coordinate(rank.rank(), Axis::batch);
        co_await embedding_block(rank, state, run_, ids_[static_cast<std::size_t>(dp_idx)]);
        state.record.output = state.hidden;
    } else if (stage == num_stages() - 1) {
        state.record.output = co_await head_block(rank, state, run_);
    } else {
        const std::int64_t layer = stage - 1;
        co_await attention_block(rank, state, run_, layer);
        state.record.hidden = state.hidden;
        if (plan_.config.is_moe(layer)) {
            co_await moe_block(rank, state, run_, layer);
        } else {
            co_await dense_block(rank, state, run_);
        }
        state.record.output = state.hidden;
    }
}

StageOutcome Forward::next() {
    SP_ASSERT(!done());
    const std::int64_t stage = next_stage_++;
    StageOutcome outcome;
    const std::vector<std::size_t> params = params_of_stage(stage);
    shared_.clear();
    for (RankState& state : ranks_) {
        state.held.clear();
        for (const std::size_t p : params)
            state.held.push_back(load_param(plan_, checkpoint_, p, state.rank, options_.faults, outcome.load));
        state.record = {};
        state.record.tokens = state.tokens;
        if (run_.sequence_parallel()) {
            state.record.tokens.assign(state.tokens.begin() + state.slice.begin,
                                       state.tokens.begin() + state.slice.end);
        }
    }
    outcome.stall = world_.run([&](RankContext& rank) { return program(rank, stage); });
    stalled_ = outcome.stall.has_value();
    outcome.record.kind = stage == 0                  ? StageKind::embeddings
                          : stage == num_stages() - 1 ? StageKind::head
                                                      : StageKind::layer;
    outcome.record.layer = outcome.record.kind == StageKind::layer ? stage - 1 : -1;
    for (RankState& state : ranks_) outcome.record.ranks.push_back(std::move(state.record));
    return outcome;
}

}  // namespace shardproof::sim
