#include "sim/plan/runnable.hpp"

#include <algorithm>

#include "oracle/model/error.hpp"
#include "sim/plan/dim_runs.hpp"
#include "sim/plan/gather_plan.hpp"
#include "sim/plan/shard_coverage.hpp"

namespace shardproof {
namespace {

Axis gathered_axis(MeshKind kind) { return kind == MeshKind::sparse ? Axis::efsdp : Axis::fsdp; }

// What a rank computes with: its shard with FSDP's axis gathered.
std::vector<IndexRuns> computed(const Plan& plan, const ParamPlan& param, Rank rank) {
    const Mesh& mesh = plan.mesh(param.placement.mesh);
    Layout layout{.mesh = &mesh, .placements = param.placement.placements};
    layout.placements[mesh.axis_idx(gathered_axis(param.placement.mesh))] = Replicate{};
    return shard_index(layout, param.parameter.shape, rank);
}

// The shards of a rank's FSDP group put one after another, as a gather does.
std::vector<IndexRuns> joined(const Plan& plan, std::size_t param_idx, Rank rank) {
    const GatherPlan gather = make_gather_plan(plan, param_idx, rank);
    std::vector<IndexRuns> index = shard_of(plan, param_idx, rank);
    if (!gather.moves) return index;
    const Mesh& mesh = plan.mesh(plan.params[param_idx].placement.mesh);
    IndexRuns runs;
    for (const Rank member : mesh.group(rank, gather.axis)) {
        const std::vector<IndexRuns> piece = shard_of(plan, param_idx, member);
        for (const Run& run : piece[gather.dim]) append_run(runs, run);
    }
    index[gather.dim] = std::move(runs);
    return index;
}

// Parameters of the layers are alike, layer by layer: the first of each form stands for all.
bool same_form(const ParamPlan& a, const ParamPlan& b) {
    return a.parameter.role == b.parameter.role && a.parameter.shape == b.parameter.shape &&
           a.placement.mesh == b.placement.mesh && a.placement.placements == b.placement.placements &&
           a.placement.shards == b.placement.shards;
}

// Why a parameter cannot be computed with as `rules` would have it; nullopt where it can.
std::optional<std::string> differs(const Plan& plan, std::size_t param_idx, const Plan& rules) {
    const ParamPlan& mine = plan.params[param_idx];
    const ParamPlan& theirs = rules.params[param_idx];
    if (mine.placement.mesh != theirs.placement.mesh) {
        return "lies on the mesh " + std::string{name_of(mine.placement.mesh)} + ", " + rules.rules + " has it on " +
               std::string{name_of(theirs.placement.mesh)};
    }
    const bool experts = is_routed_expert(mine.parameter.role) && mine.placement.mesh == MeshKind::sparse;
    const Mesh& mesh = plan.mesh(mine.placement.mesh);
    for (std::int64_t r = 0; r < plan.world(); ++r) {
        const Rank rank{r};
        const std::vector<IndexRuns> part = computed(plan, mine, rank);
        const std::vector<IndexRuns> wanted = computed(rules, theirs, rank);
        for (std::size_t dim = experts ? 1 : 0; dim < part.size(); ++dim) {
            if (part[dim] == wanted[dim]) continue;
            return "rank " + std::to_string(r) + " would compute with " + printed_index(part) + ", " + rules.rules +
                   " has it compute with " + printed_index(wanted);
        }
        if (mesh.coordinate(rank, gathered_axis(mine.placement.mesh)) != 0) continue;
        if (const auto together = joined(plan, param_idx, rank); together != part)
            return "rank " + std::to_string(r) + "'s group gathers " + printed_index(together) + ", not " +
                   printed_index(part);
    }
    return std::nullopt;
}

// w1, w2 and w3 of a layer must have the same experts in the same places.
std::optional<NotRunnable> experts_disagree(const Plan& plan) {
    for (const ParamPlan& first : plan.params) {
        if (first.parameter.role != Role::expert_w1) continue;
        for (const ParamPlan& other : plan.params) {
            if (!is_routed_expert(other.parameter.role) || other.parameter.layer != first.parameter.layer) continue;
            if (other.placement.mesh != first.placement.mesh)
                return NotRunnable{other.parameter.name, "lies on another mesh than " + first.parameter.name};
            for (std::int64_t r = 0; r < plan.world(); ++r) {
                if (computed(plan, other, Rank{r})[0] == computed(plan, first, Rank{r})[0]) continue;
                return NotRunnable{other.parameter.name, "rank " + std::to_string(r) + " holds other experts than of " +
                                                             first.parameter.name};
            }
        }
    }
    return std::nullopt;
}

std::optional<Plan> plan_by(const RuleSet& rules, const Plan& plan) {
    std::vector<Parameter> parameters;
    std::vector<DType> dtypes;
    for (const ParamPlan& param : plan.params) {
        parameters.push_back(param.parameter);
        dtypes.push_back(param.dtype);
    }
    try {
        return make_plan(plan.config, std::move(parameters), dtypes, plan.dims, rules);
    } catch (const InputError&) {
        return std::nullopt;  // degrees that these rules do not take
    }
}

}  // namespace

std::optional<NotRunnable> not_runnable(const Plan& plan) {
    std::vector<std::size_t> distinct;
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        const ParamPlan& param = plan.params[p];
        if (param.placement.shards)
            return NotRunnable{param.parameter.name, "its shards are no product of placements on mesh axes"};
        const bool seen =
            std::ranges::any_of(distinct, [&](std::size_t other) { return same_form(plan.params[other], param); });
        if (!seen) distinct.push_back(p);
    }
    std::optional<NotRunnable> nearest;
    std::size_t fewest = plan.params.size() + 1;
    for (const RuleSet& rules : rule_sets()) {
        const std::optional<Plan> theirs = plan_by(rules, plan);
        if (!theirs) continue;
        std::optional<NotRunnable> first;
        std::size_t count = 0;
        for (const std::size_t p : distinct) {
            auto why = differs(plan, p, *theirs);
            if (!why) continue;
            ++count;
            if (!first) first = NotRunnable{plan.params[p].parameter.name, std::move(*why)};
        }
        if (count == 0) return experts_disagree(plan);
        if (count < fewest) {
            fewest = count;
            nearest = std::move(first);
        }
    }
    if (nearest) return nearest;
    return NotRunnable{plan.params.empty() ? "" : plan.params.front().parameter.name,
                       "no rule set of ours takes these degrees for this model"};
}

}  // namespace shardproof
