#include "sim/plan/gather_plan.hpp"

#include <optional>

#include "sim/plan/shard.hpp"

namespace shardproof {
namespace {

std::optional<std::size_t> sharded_dim(const Placement& placement) {
    if (const auto* shard = std::get_if<ShardDim>(&placement)) return shard->dim;
    if (const auto* strided = std::get_if<StridedShard>(&placement)) return strided->dim;
    if (const auto* owners = std::get_if<Owners>(&placement)) return owners->dim;
    return std::nullopt;
}

}  // namespace

GatherPlan make_gather_plan(const Plan& plan, std::size_t param_idx, Rank rank) {
    const ParamPlacement& placement = plan.params[param_idx].placement;
    const Mesh& mesh = plan.mesh(placement.mesh);
    GatherPlan gather;
    gather.axis = placement.mesh == MeshKind::sparse ? Axis::efsdp : Axis::fsdp;
    gather.shape = local_shape(shard_of(plan, param_idx, rank));
    const auto dim = sharded_dim(placement.placements[mesh.axis_idx(gather.axis)]);
    const std::vector<Rank> members = mesh.group(rank, gather.axis);
    if (!dim || members.size() == 1) return gather;
    gather.moves = true;
    gather.dim = *dim;
    gather.shape[*dim] = 0;
    for (const Rank member : members) {
        const Shape piece = local_shape(shard_of(plan, param_idx, member));
        gather.extents.push_back(piece[*dim]);
        gather.counts.push_back(num_elements(piece));
        gather.shape[*dim] += piece[*dim];
    }
    return gather;
}

}  // namespace shardproof
