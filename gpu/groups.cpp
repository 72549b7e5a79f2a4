#include "gpu/groups.hpp"

#include "sim/plan/shard.hpp"

namespace shardproof::gpu {

RankGroups groups_of(const Plan& plan, Rank rank) {
    const Mesh& dense = plan.meshes.dense;
    const Mesh& sparse = plan.meshes.sparse;
    return {.tp = {"tp", dense.group(rank, Axis::tp)},
            .fsdp = {"fsdp", dense.group(rank, Axis::fsdp)},
            .ep = {"ep", sparse.group(rank, Axis::ep)},
            .efsdp = {"efsdp", sparse.group(rank, Axis::efsdp)}};
}

}  // namespace shardproof::gpu
