#include "props/laws/subject.hpp"

#include "oracle/model/error.hpp"
#include "props/gen/tiny_model.hpp"
#include "sim/forward.hpp"
#include "sim/plan/shard.hpp"

namespace shardproof::props {

namespace {

// The rows that a rank itself dispatches. Without sequence parallelism the ranks of a tp group record the same rows and
// where experts lie on the sparse mesh each dispatches its slice of them.
sim::Routing own_routing(const Subject& subject, const RankRecord& record, Rank rank) {
    const Plan& plan = subject.healthy_plan();
    const std::int64_t k = plan.config.router.top_k;
    Run rows{0, static_cast<std::int64_t>(record.expert_ids.size()) / k};
    if (dispatches_own_rows(plan) && !plan.dims.sequence_parallel())
        rows = chunk(rows.size(), plan.dims.tp(), plan.meshes.dense.coordinate(rank, Axis::tp));
    sim::Routing routing;
    routing.top_k = k;
    routing.expert_ids.assign(record.expert_ids.begin() + rows.begin * k, record.expert_ids.begin() + rows.end * k);
    routing.weights.assign(record.expert_weights.begin() + rows.begin * k,
                           record.expert_weights.begin() + rows.end * k);
    return routing;
}

LayerDispatch layer_dispatch(const Subject& subject, const StageRecord& stage) {
    LayerDispatch layer{.layer = stage.layer, .experts = expert_map(subject.plan(), stage.layer), .ranks = {}};
    for (std::size_t r = 0; r < stage.ranks.size(); ++r) {
        const Rank rank{static_cast<std::int64_t>(r)};
        RankDispatch& mine = layer.ranks.emplace_back();
        mine.routing = own_routing(subject, stage.ranks[r], rank);
        mine.dispatch = plan_dispatch(layer.experts, mine.routing.expert_ids, mine.routing.top_k);
        mine.combine = mine.dispatch;
        if (subject.faults() != nullptr && subject.faults()->on_dispatch)
            subject.faults()->on_dispatch(rank, stage.layer, mine.dispatch, mine.combine);
    }
    return layer;
}

}  // namespace

Subject::Subject(const Case& c, const Plant& plant)
    : case_{c},
      model_{make_tiny_model(c)},
      batch_{make_batch(c)},
      plan_{make_plan(model_, dims_of(c.layout), rule_set_named(c.layout.rules), options_of(c.layout))} {
    if (plant) planted_ = plant({.c = case_, .model = model_, .plan = plan_, .batch = batch_});
}

const CheckReport& Subject::report() {
    if (!report_) {
        trace_.clear();
        report_ = check(model_, plan(), batch_,
                        {.arithmetic = case_.arithmetic,
                         .seed = case_.scheduler_seed,
                         .faults = faults(),
                         .judged_plan = planted_ && planted_->is_its_own_judge ? &plan() : &plan_,
                         .loaded_from = &loaded_model().checkpoint,
                         .keep_result = true,
                         .trace = &trace_,
                         .progress = {}});
    }
    return *report_;
}

const sim::Trace& Subject::trace() {
    (void)report();
    return trace_;
}

const std::vector<LayerDispatch>& Subject::dispatches() {
    if (!dispatches_) {
        dispatches_.emplace();
        for (const StageRecord& stage : report().result->stages) {
            if (stage.kind == StageKind::layer && model_.config.is_moe(stage.layer))
                dispatches_->push_back(layer_dispatch(*this, stage));
        }
    }
    return *dispatches_;
}

std::optional<Result> run_plan(const Plan& plan, const Model& model, const Batch& batch, Arithmetic arithmetic,
                               std::uint64_t seed, const sim::Faults* faults) {
    sim::Forward forward{
        plan, model.checkpoint, batch, {.arithmetic = arithmetic, .seed = seed, .faults = faults, .trace = nullptr}};
    Result result{.arithmetic = arithmetic, .stages = {}};
    while (!forward.done()) {
        sim::StageOutcome outcome = forward.next();
        if (outcome.stall) return std::nullopt;
        result.stages.push_back(std::move(outcome.record));
    }
    return result;
}

}  // namespace shardproof::props
