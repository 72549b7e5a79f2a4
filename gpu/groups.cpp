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

std::vector<std::int64_t> slices_of(std::int64_t num_rows, std::size_t num_members) {
    std::vector<std::int64_t> rows(num_members);
    for (std::size_t m = 0; m < num_members; ++m)
        rows[m] = chunk(num_rows, static_cast<std::int64_t>(num_members), static_cast<std::int64_t>(m)).size();
    return rows;
}

}  // namespace shardproof::gpu
