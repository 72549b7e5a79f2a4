#include "reports/plant.hpp"

#include "oracle/model/error.hpp"
#include "props/mutants/mutant.hpp"

namespace shardproof::reports {
namespace {

// The layout and the tokens as a Case: what mutants look at besides model, plan and batch.
props::Case case_of(const Plan& plan, const Batch& batch) {
    props::Case c;
    c.layout = {.rules = plan.rules,
                .dp_replicate = plan.dims.dp_replicate(),
                .dp_shard = plan.dims.dp_shard(),
                .tp = plan.dims.tp(),
                .ep = plan.dims.ep(),
                .etp = plan.dims.etp(),
                .sequence_parallel = plan.dims.sequence_parallel()};
    c.model.experts = plan.config.router.num_experts;
    c.model.top_k = plan.config.router.top_k;
    c.model.scale = plan.config.router.scale;
    for (const Sequence& sequence : batch.sequences)
        c.sequences.push_back({sequence.dp_idx, static_cast<std::int64_t>(sequence.ids.size())});
    return c;
}

}  // namespace

Planted plant(const std::string& id, Backend backend, const Model& model, const Plan& plan, const Batch& batch) {
    if (id.empty()) return {};
    const props::Case c = case_of(plan, batch);
    for (const props::Mutant* mutant : props::mutants_named({id}, "--plant")) {
        const bool in_one_run = !mutant->needs_two_runs && mutant->seen != props::Seen::by_relation &&
                                mutant->seen != props::Seen::by_statics_only;
        // An id names its variants as well, which are other faults.
        if (mutant->id != id || !in_one_run || (backend == Backend::gpu && !mutant->on_devices)) continue;
        auto planted = mutant->plant({.c = c, .model = model, .plan = plan, .batch = batch});
        if (planted && !planted->on_save) return Planted{std::move(*planted)};  // check saves nothing
    }
    throw InputError(
        {"command line", "--plant", id, "changes nothing under this layout that a run on this backend shows"});
}

}  // namespace shardproof::reports
