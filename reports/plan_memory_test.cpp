#include "reports/plan_memory.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace shardproof::reports {
namespace {

// Two copies of all groups, as they are made.
std::uint64_t bytes_of_groups(const Meshes& meshes) {
    std::uint64_t bytes = 0;
    for (const NamedGroups& named : named_groups(meshes)) {
        for (const std::vector<Rank>& group : named.groups)
            bytes += 2 * (sizeof(std::vector<Rank>) + std::max<std::uint64_t>(32, group.size() * sizeof(Rank)));
    }
    return bytes;
}

TEST(PlanBytes, CoverAllGroupsWithoutMakingThem) {
    for (const RawDims& raw :
         {RawDims{.dp_replicate = 4096, .world = {}}, RawDims{.dp_shard = 64, .tp = 8, .ep = 32, .world = {}},
          RawDims{.dp_replicate = 2, .dp_shard = 32, .cp = 4, .tp = 8, .pp = 2, .ep = 64, .world = {}}}) {
        const Meshes meshes = make_meshes(ParallelDims::parse(raw));
        const std::uint64_t bytes = bytes_of_groups(meshes);
        EXPECT_GE(plan_bytes(meshes), bytes);
        EXPECT_LE(plan_bytes(meshes), bytes * 3 / 2);
    }
}

}  // namespace
}  // namespace shardproof::reports
