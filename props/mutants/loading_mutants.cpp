#include "props/mutants/loading_mutants.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "oracle/model/error.hpp"
#include "sim/plan/load_plan.hpp"

namespace shardproof::props::mutant {

namespace {

bool is_gate(Role role) { return role == Role::expert_w1 || role == Role::ffn_w1; }
bool is_up(Role role) { return role == Role::expert_w3 || role == Role::ffn_w3; }

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
        const std::size_t dim = is_routed_expert(param.parameter.role) ? 1 : 0;
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
        return is_routed_expert(param.parameter.role) &&
               std::holds_alternative<ShardDim>(param.placement.placements[ep]);
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

namespace {

// The plan of a shard that keeps its shape, whatever is copied into it: what is not copied stays poison.
LoadPlan in_shape_of(const LoadPlan& planned, LoadPlan other) {
    other.shape = planned.shape;
    return other;
}

// The two dims of an expert's matrix, read as if they lay the other way round.
Parameter transposed(Parameter parameter) {
    for (Source& source : parameter.sources) {
        const std::size_t last = source.tensor_shape.size() - 1;
        std::swap(source.tensor_shape[last - 1], source.tensor_shape[last]);
        std::swap(source.tensor_begin[last - 1], source.tensor_begin[last]);
        std::swap(source.param_dim_of[last - 1], source.param_dim_of[last]);
    }
    return parameter;
}

// Experts [0,E) as ep ranks get them when each has E / ep and the last one the rest.
Placement rest_to_the_last(std::int64_t experts, std::int64_t ep) {
    Owners owners;
    const std::int64_t each = experts / ep;
    for (std::int64_t rank = 0; rank < ep; ++rank) {
        const Run run{rank * each, rank + 1 == ep ? experts : (rank + 1) * each};
        owners.runs.push_back(run.size() > 0 ? IndexRuns{run} : IndexRuns{});
    }
    return owners;
}

IndexRuns first_of(const IndexRuns& runs, std::int64_t count) {
    IndexRuns kept;
    for (const Run& run : runs) {
        const std::int64_t taken = std::min(run.size(), count);
        if (taken > 0) kept.push_back({run.begin, run.begin + taken});
        count -= taken;
    }
    return kept;
}

}  // namespace

std::optional<Planted> remainder_on_the_last_rank(const Healthy& healthy) {
    const Plan& plan = healthy.plan;
    const std::int64_t ep = plan.dims.ep();
    const std::int64_t experts = plan.config.router.num_experts;
    // Several axes on the same dim have no remainder of their own.
    if (ep == 1 || plan.dims.efsdp() > 1 || experts % ep == 0 || !plan.config.first_moe_layer()) return std::nullopt;
    Planted planted;
    planted.plan = plan;
    const std::size_t axis = plan.meshes.sparse.axis_idx(Axis::ep);
    for (ParamPlan& param : planted.plan->params) {
        if (is_routed_expert(param.parameter.role)) param.placement.placements[axis] = rest_to_the_last(experts, ep);
    }
    planted.faults.on_load = [&plan](Rank rank, std::size_t p, LoadPlan& load_plan) {
        const ParamPlan& param = plan.params[p];
        if (!is_routed_expert(param.parameter.role)) return;
        std::vector<IndexRuns> index = shard_of(plan, p, rank);
        index[0] = first_of(index[0], load_plan.shape[0]);
        load_plan = in_shape_of(load_plan, make_load_plan(param.parameter, param.dtype, index));
    };
    return planted;
}

std::optional<Planted> transposed_twice(const Healthy& healthy) {
    const Plan& plan = healthy.plan;
    if (!plan.config.first_moe_layer()) return std::nullopt;
    return with_load([&plan](Rank rank, std::size_t p, LoadPlan& load_plan) {
        const ParamPlan& param = plan.params[p];
        if (param.parameter.role != Role::expert_w3) return;
        load_plan = make_load_plan(transposed(param.parameter), param.dtype, shard_of(plan, p, rank));
    });
}

std::optional<Planted> unmatched_expert_keys(const Healthy& healthy) {
    const Plan& plan = healthy.plan;
    if (!plan.config.first_moe_layer()) return std::nullopt;
    return with_load([&plan](Rank rank, std::size_t p, LoadPlan& load_plan) {
        ParamPlan param = plan.params[p];
        if (!is_routed_expert(param.parameter.role)) return;
        param.parameter.sources.pop_back();
        load_plan = make_load_plan(param.parameter, param.dtype, shard_of(plan, p, rank));
    });
}

std::optional<Planted> cast_makes_a_copy(const Healthy& healthy) {
    const Plan& plan = healthy.plan;
    const auto is_cast = [](const ParamPlan& param) {
        return is_routed_expert(param.parameter.role) && param.dtype != DType::F32;
    };
    if (std::ranges::none_of(plan.params, is_cast)) return std::nullopt;
    return with_load([&plan, is_cast](Rank, std::size_t p, LoadPlan& load_plan) {
        if (is_cast(plan.params[p])) load_plan.copies.clear();
    });
}

std::optional<Planted> empty_slice(const Healthy& healthy) {
    const Plan& plan = healthy.plan;
    if (plan.dims.ep() == 1 || !plan.config.first_moe_layer()) return std::nullopt;
    return with_load([&plan](Rank, std::size_t p, LoadPlan& load_plan) {
        if (is_routed_expert(plan.params[p].parameter.role)) load_plan.copies.clear();
    });
}

std::optional<Planted> saved_under_local_ids(const Healthy& healthy) {
    const Plan& plan = healthy.plan;
    if (plan.dims.ep() == 1 || !plan.config.first_moe_layer()) return std::nullopt;
    Planted planted;
    planted.on_save = [&plan](Rank rank, std::size_t p, LoadPlan& store_plan) {
        const ParamPlan& param = plan.params[p];
        if (!is_routed_expert(param.parameter.role)) return;
        std::vector<IndexRuns> index = shard_of(plan, p, rank);
        if (!index[0].empty()) index[0] = {{0, num_indices(index[0])}};
        store_plan = make_load_plan(param.parameter, param.dtype, index);
    };
    return planted;
}

std::optional<Planted> kv_head_by_rank(const Healthy& healthy) {
    const Plan& plan = healthy.plan;
    const Heads heads = plan.config.heads();
    if (plan.dims.tp() <= heads.num_kv_heads || heads.num_kv_heads == 1) return std::nullopt;
    return with_load([&plan, heads](Rank rank, std::size_t p, LoadPlan& load_plan) {
        const ParamPlan& param = plan.params[p];
        if (param.parameter.role != Role::wk && param.parameter.role != Role::wv) return;
        std::vector<IndexRuns> index = shard_of(plan, p, rank);
        const std::int64_t head = plan.meshes.dense.coordinate(rank, Axis::tp) % heads.num_kv_heads;
        index[0] = {{head * heads.head_dim, (head + 1) * heads.head_dim}};
        load_plan = make_load_plan(param.parameter, param.dtype, index);
    });
}

std::optional<Planted> second_load_swapped(const Healthy& healthy) {
    const Plan& plan = healthy.plan;
    using Loads = std::map<std::pair<Rank, std::size_t>, std::int64_t>;
    return with_load([&plan, loads = std::make_shared<Loads>()](Rank rank, std::size_t p, LoadPlan& load_plan) {
        const Role role = plan.params[p].parameter.role;
        if (!is_gate(role) && !is_up(role)) return;
        if ((*loads)[{rank, p}]++ > 0) load_plan = make_load_plan(plan, other_half(plan, p), rank);
    });
}

}  // namespace shardproof::props::mutant
