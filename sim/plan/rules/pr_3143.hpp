// pr-3143: the specimen. TorchTitan's change #3143, "DP-to-EP for MoE inference", as it was written, which closed with
// "currently it doesn't work with weight loading". Its four blockers can be mended one by one, for tests.
// Source: facts 1.6 (read from the head of github.com/pytorch/torchtitan/pull/3143).
#pragma once
#include <optional>

#include "sim/plan/rules/rule_set.hpp"

namespace shardproof::pr_3143 {

struct Blockers {
    // get_mesh(["fsdp", "dp_replicate"]): fsdp stands where FSDP replicates, dp_replicate where it shards.
    bool reversed_mesh = true;
    // assert edp_mesh.size() == 2: the number of ranks, where ndim is meant. With full EP efsdp is 1.
    bool size_test = true;
    // MoE blocks: FSDPMeshInfo(mesh, shard_mesh_dim=0) knows one data axis of two, so that a DTensor has a placement
    // less than its mesh has axes, and the adapter that indexes placements by axis fails.
    bool too_few_placements = true;
    // MoE blocks: that axis is fsdp, so that dense parameters are really cut over it, which loading takes for
    // replicated.
    bool sharded_dense = true;
};

void check(const ParallelDims& dims, const ModelConfig& config, const RuleOptions& options);
[[nodiscard]] std::optional<ParamPlacement> place(const Parameter& parameter, const ModelConfig& config,
                                                  const ParallelDims& dims, const RuleOptions& options);
[[nodiscard]] Meshes meshes(const ParallelDims& dims);

// With some of them mended. With all four mended every rank holds what titan-infer gives it.
[[nodiscard]] std::optional<ParamPlacement> place_with(const Parameter& parameter, const ModelConfig& config,
                                                       const ParallelDims& dims, const Blockers& blockers);
[[nodiscard]] Meshes meshes_with(const ParallelDims& dims, const Blockers& blockers);

}  // namespace shardproof::pr_3143
