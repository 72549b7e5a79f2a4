#include "sim/plan/rules/pr_3143.hpp"

#include <utility>

#include "sim/plan/rules/titan.hpp"

namespace shardproof::pr_3143 {
namespace {

// The axes of make_meshes: pp, dp_replicate, fsdp or efsdp, tp or ep.
constexpr std::size_t kReplicateAxis = 1;
constexpr std::size_t kDataAxis = 2;
constexpr std::size_t kInnermost = 3;

bool is_of_moe_block(const Parameter& parameter, const ModelConfig& config) {
    return parameter.layer && config.is_moe(*parameter.layer);
}

// The mesh with its two data axes in the order that the change asks for. dp_replicate is 1: ranks stay where they are.
Mesh reversed(const Mesh& mesh) {
    std::vector<MeshAxis> axes = mesh.axes();
    std::swap(axes[kReplicateAxis], axes[kDataAxis]);
    return Mesh::strided(mesh.name(), std::move(axes));
}

Declaration declaration_of(const Parameter& parameter, const ModelConfig& config, const ParallelDims& dims,
                           const ParamPlacement& placed, const Blockers& blockers) {
    const bool sparse = placed.mesh == MeshKind::sparse;
    const bool moe_block = is_of_moe_block(parameter, config);
    const Axis data = sparse ? Axis::efsdp : Axis::fsdp;
    const std::int64_t model_parallel = sparse ? dims.ep() : dims.tp();
    Declaration declared;
    declared.fsdp_mesh =
        blockers.reversed_mesh ? std::vector{data, Axis::dp_replicate} : std::vector{Axis::dp_replicate, data};
    if (sparse && blockers.size_test) declared.asserted_ranks = 2;
    declared.axes = declared.fsdp_mesh;
    const Placement stored = placed.placements[kDataAxis];
    if (moe_block && blockers.too_few_placements) {
        declared.placements = {stored};
    } else if (blockers.reversed_mesh) {
        declared.placements = {stored, moe_block ? Placement{Replicate{}} : Placement{ShardDim{0}}};
    } else {
        declared.placements = {Replicate{}, stored};
    }
    if (model_parallel > 1) {
        declared.axes.push_back(sparse ? Axis::ep : Axis::tp);
        declared.placements.push_back(placed.placements[kInnermost]);
    }
    declared.loaded_as = {{Axis::dp_replicate, Replicate{}}, {data, Replicate{}}};
    return declared;
}

}  // namespace

void check(const ParallelDims& dims, const ModelConfig& config, const RuleOptions& options) {
    check_as_titan_infer(dims, config, "pr-3143");
    // Where ep is 1 FSDP cuts experts as well, and evenly or not at all.
    titan_train::check(dims, config, options);
}

std::optional<ParamPlacement> place_with(const Parameter& parameter, const ModelConfig& config,
                                         const ParallelDims& dims, const Blockers& blockers) {
    std::optional<ParamPlacement> placed = place_model_parallel(parameter.role, dims);
    if (!placed) return std::nullopt;
    const bool cut = blockers.sharded_dense && placed->mesh == MeshKind::dense && is_of_moe_block(parameter, config);
    if (cut) placed = titan_train::place(parameter, config, dims, {});
    placed->declared = declaration_of(parameter, config, dims, *placed, blockers);
    if (blockers.reversed_mesh) std::swap(placed->placements[kReplicateAxis], placed->placements[kDataAxis]);
    return placed;
}

Meshes meshes_with(const ParallelDims& dims, const Blockers& blockers) {
    Meshes meshes = make_meshes(dims);
    if (!blockers.reversed_mesh) return meshes;
    meshes.dense = reversed(meshes.dense);
    meshes.sparse = reversed(meshes.sparse);
    return meshes;
}

std::optional<ParamPlacement> place(const Parameter& parameter, const ModelConfig& config, const ParallelDims& dims,
                                    const RuleOptions& /*options*/) {
    return place_with(parameter, config, dims, {});
}

Meshes meshes(const ParallelDims& dims) { return meshes_with(dims, {}); }

}  // namespace shardproof::pr_3143
