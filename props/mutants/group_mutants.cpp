#include "props/mutants/group_mutants.hpp"

#include <algorithm>
#include <memory>

#include "sim/plan/load_plan.hpp"

namespace shardproof::props::mutant {

namespace {

// The load plans of the healthy plan, whatever plan runs.
std::function<void(Rank, std::size_t, LoadPlan&)> loading_by(const Plan& plan) {
    return [&plan](Rank rank, std::size_t p, LoadPlan& load_plan) { load_plan = make_load_plan(plan, p, rank); };
}

}  // namespace

std::optional<Planted> communicator_of_num_experts(const Healthy& healthy) {
    const Plan& plan = healthy.plan;
    const std::int64_t world = plan.dims.world();
    const std::int64_t size = std::min(plan.config.router.num_experts, world);
    if (plan.dims.ep() == 1 || size == plan.dims.ep()) return std::nullopt;
    auto groups = std::make_shared<std::vector<sim::Group>>();
    for (std::int64_t r = 0; r < world; ++r) {
        std::vector<Rank> ranks;
        const std::int64_t first = r / size * size;
        for (std::int64_t i = first; i < std::min(first + size, world); ++i) ranks.emplace_back(i);
        groups->emplace_back("ep", std::move(ranks), Rank{r});
    }
    Planted planted;
    planted.faults.on_call = [groups](Rank rank, sim::CollectiveCall& call) {
        if (call.kind == sim::CollectiveKind::all_to_all) call.group = &(*groups)[rank.idx()];
        return sim::Participation::joins;
    };
    return planted;
}

std::optional<Planted> mesh_of_num_experts(const Healthy& healthy) {
    const ParallelDims& dims = healthy.plan.dims;
    const std::int64_t inner = dims.dp_shard() * dims.cp() * dims.tp();
    const std::int64_t experts = healthy.plan.config.router.num_experts;
    const bool has_etp = healthy.plan.meshes.sparse.has(Axis::etp);  // another form of mesh
    if (has_etp || dims.ep() == 1 || experts == dims.ep() || inner % experts != 0) return std::nullopt;
    Planted planted;
    planted.plan = healthy.plan;
    planted.plan->meshes.sparse = Mesh::row_major("sparse", {{Axis::pp, dims.pp()},
                                                             {Axis::dp_replicate, dims.dp_replicate()},
                                                             {Axis::efsdp, inner / experts},
                                                             {Axis::ep, experts}});
    return planted;
}

namespace {

Mesh with_swapped_axes(const ParallelDims& dims) {
    const std::int64_t inner = dims.efsdp() * dims.ep();
    return Mesh::strided("sparse", {{Axis::pp, dims.pp(), dims.dp_replicate() * inner},
                                    {Axis::dp_replicate, dims.dp_replicate(), inner},
                                    {Axis::efsdp, dims.efsdp(), 1},
                                    {Axis::ep, dims.ep(), dims.efsdp()}});
}

}  // namespace

std::optional<Planted> swapped_expert_axes(const Healthy& healthy) {
    const ParallelDims& dims = healthy.plan.dims;
    if (healthy.plan.meshes.sparse.has(Axis::etp) || dims.ep() == 1 || dims.efsdp() == 1) return std::nullopt;
    Planted planted;
    planted.plan = healthy.plan;
    planted.plan->meshes.sparse = with_swapped_axes(dims);
    planted.faults.on_load = loading_by(healthy.plan);
    return planted;
}

std::optional<Planted> swapped_expert_axes_everywhere(const Healthy& healthy) {
    auto planted = swapped_expert_axes(healthy);
    if (!planted) return std::nullopt;
    planted->faults.on_load = {};
    planted->is_its_own_judge = true;
    return planted;
}

std::optional<Planted> dense_group_for_experts(const Healthy& healthy) {
    const Plan& plan = healthy.plan;
    // With tp = 1 the two groups are the same ranks.
    if (plan.dims.ep() == 1 || plan.dims.tp() == 1 || plan.dims.fsdp() != plan.dims.ep()) return std::nullopt;
    auto groups = std::make_shared<std::vector<sim::Group>>();
    for (std::int64_t r = 0; r < plan.world(); ++r)
        groups->emplace_back("fsdp", plan.meshes.dense.group(Rank{r}, Axis::fsdp), Rank{r});
    Planted planted;
    planted.faults.on_call = [groups](Rank rank, sim::CollectiveCall& call) {
        if (call.kind == sim::CollectiveKind::all_to_all) call.group = &(*groups)[rank.idx()];
        return sim::Participation::joins;
    };
    return planted;
}

std::optional<Planted> partial_left_alone(const Healthy& healthy) {
    if (healthy.plan.dims.tp() == 1) return std::nullopt;
    Planted planted;
    planted.faults.on_call = [](Rank, sim::CollectiveCall& call) {
        const bool is_sum = call.kind == sim::CollectiveKind::all_reduce;
        const bool skips = is_sum && (call.what == "mlp output" || call.what == "moe output");
        return skips ? sim::Participation::skips : sim::Participation::joins;
    };
    return planted;
}

}  // namespace shardproof::props::mutant
