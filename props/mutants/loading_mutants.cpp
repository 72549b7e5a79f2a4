#include "props/mutants/loading_mutants.hpp"

#include <algorithm>
#include <memory>

#include "oracle/model/error.hpp"
#include "sim/plan/load_plan.hpp"

namespace shardproof::props::mutant {

namespace {

bool is_gate(Role role) { return role == Role::expert_w1 || role == Role::ffn_w1; }
bool is_up(Role role) { return role == Role::expert_w3 || role == Role::ffn_w3; }
bool is_expert(Role role) { return role == Role::expert_w1 || role == Role::expert_w2 || role == Role::expert_w3; }

std::size_t other_half(const Plan& plan, std::size_t p) {
    const auto role_of_other = [](Role role) {
        switch (role) {
            case Role::expert_w1:
                return Role::expert_w3;
            case Role::expert_w3:
                return Role::expert_w1;
            case Role::ffn_w1:
                return Role::ffn_w3;
            default:
                return Role::ffn_w1;
        }
    };
    const Parameter& mine = plan.params[p].parameter;
    for (std::size_t i = 0; i < plan.params.size(); ++i) {
        const Parameter& other = plan.params[i].parameter;
        if (other.layer == mine.layer && other.role == role_of_other(mine.role)) return i;
    }
    SP_ASSERT(!"gate and up come in pairs");
    return p;
}

IndexRuns shifted(IndexRuns runs, std::int64_t by) {
    for (Run& run : runs) {
        run.begin += by;
        run.end += by;
    }
    return runs;
}

// w1 and w3 as one parameter: w3's rows behind w1's along `dim`.
Parameter fused(const Parameter& w1, const Parameter& w3, std::size_t dim) {
    Parameter both = w1;
    both.shape[dim] = w1.shape[dim] + w3.shape[dim];
    for (Source source : w3.sources) {
        source.param_box[dim].begin += w1.shape[dim];
        source.param_box[dim].end += w1.shape[dim];
        both.sources.push_back(std::move(source));
    }
    return both;
}

// A load hook that replaces the plans of the parameters it is given.
Planted with_load(std::function<void(Rank, std::size_t, LoadPlan&)> on_load) {
    Planted planted;
    planted.faults.on_load = std::move(on_load);
    return planted;
}

}  // namespace

std::optional<Planted> fused_block(const Healthy& healthy) {
    const Plan& plan = healthy.plan;
    const std::int64_t tp = plan.dims.tp();
    const auto is_cut = [&plan](const ParamPlan& param) {
        return param.placement.mesh == MeshKind::dense &&
               (is_gate(param.parameter.role) || is_up(param.parameter.role));
    };
    if (tp == 1 || std::ranges::none_of(plan.params, is_cut)) return std::nullopt;
    return with_load([&plan, tp, is_cut](Rank rank, std::size_t p, LoadPlan& load_plan) {
        const ParamPlan& param = plan.params[p];
        if (!is_cut(param)) return;
        const bool gate = is_gate(param.parameter.role);
        const std::size_t dim = is_expert(param.parameter.role) ? 1 : 0;
        // Rank t's block of the fused rows begins at twice where its block of one half begins; it holds "its" w1, then
        // "its" w3. An index i of the half is therefore row i + begin of the fused parameter, or i + end.
        const Run own = chunk(param.parameter.shape[dim], tp, plan.meshes.dense.coordinate(rank, Axis::tp));
        std::vector<IndexRuns> index = shard_of(plan, p, rank);
        index[dim] = shifted(std::move(index[dim]), gate ? own.begin : own.end);
        const Parameter& other = plan.params[other_half(plan, p)].parameter;
        const Parameter both = gate ? fused(param.parameter, other, dim) : fused(other, param.parameter, dim);
        load_plan = make_load_plan(both, param.dtype, index);
    });
}

std::optional<Planted> swapped_gate_and_up(const Healthy& healthy) {
    const Plan& plan = healthy.plan;
    return with_load([&plan](Rank rank, std::size_t p, LoadPlan& load_plan) {
        const Role role = plan.params[p].parameter.role;
        if (is_gate(role) || is_up(role)) load_plan = make_load_plan(plan, other_half(plan, p), rank);
    });
}

std::optional<Planted> first_experts_everywhere(const Healthy& healthy) {
    const Plan& plan = healthy.plan;
    if (plan.dims.ep() == 1) return std::nullopt;
    const std::size_t ep = plan.meshes.sparse.axis_idx(Axis::ep);
    const auto is_dealt_in_order = [ep](const ParamPlan& param) {
        return is_expert(param.parameter.role) && std::holds_alternative<ShardDim>(param.placement.placements[ep]);
    };
    if (std::ranges::none_of(plan.params, is_dealt_in_order)) return std::nullopt;
    return with_load([&plan, is_dealt_in_order](Rank rank, std::size_t p, LoadPlan& load_plan) {
        const ParamPlan& param = plan.params[p];
        if (!is_dealt_in_order(param)) return;
        const Run own = chunk(param.parameter.shape[0], plan.dims.ep(), plan.meshes.sparse.coordinate(rank, Axis::ep));
        std::vector<IndexRuns> index = shard_of(plan, p, rank);
        index[0] = shifted(std::move(index[0]), -own.begin);
        load_plan = make_load_plan(param.parameter, param.dtype, index);
    });
}

}  // namespace shardproof::props::mutant
