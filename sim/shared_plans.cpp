#include "sim/shared_plans.hpp"

namespace shardproof::sim {

const GatherPlan& SharedPlans::gather(std::size_t param_idx, Rank rank) {
    const MeshKind kind = plan_->params[param_idx].placement.mesh;
    const Mesh& mesh = plan_->mesh(kind);
    const MeshAxis& axis = mesh.axes()[mesh.axis_idx(kind == MeshKind::sparse ? Axis::efsdp : Axis::fsdp)];
    const std::int64_t first = rank.value() - mesh.coordinate(rank, axis.axis) * axis.stride;
    const auto [place, is_new] = gathers_.try_emplace({param_idx, first});
    if (is_new) place->second = make_gather_plan(*plan_, param_idx, rank);
    return place->second;
}

const ExpertMap& SharedPlans::experts(std::int64_t layer) {
    const auto [place, is_new] = experts_.try_emplace(layer);
    if (is_new) place->second = expert_map(*plan_, layer);
    return place->second;
}

void SharedPlans::clear() {
    gathers_.clear();
    experts_.clear();
}

}  // namespace shardproof::sim
