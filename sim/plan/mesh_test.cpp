#include "sim/plan/mesh.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "oracle/model/error.hpp"

namespace shardproof {
namespace {

using Groups = std::vector<std::vector<std::int64_t>>;

Groups groups_named(const Meshes& meshes, std::string_view name) {
    for (const NamedGroups& named : named_groups(meshes)) {
        if (named.name != name) continue;
        Groups result;
        for (const auto& group : named.groups) {
            result.emplace_back();
            for (const Rank rank : group) result.back().push_back(rank.value());
        }
        return result;
    }
    ADD_FAILURE() << "no groups named " << name;
    return {};
}

Meshes meshes_of(std::int64_t r, std::int64_t s, std::int64_t c, std::int64_t t, std::int64_t p, std::int64_t x) {
    return make_meshes(
        ParallelDims::parse({.dp_replicate = r, .dp_shard = s, .cp = c, .tp = t, .pp = p, .ep = x, .world = {}}));
}

TEST(Meshes, GoldenGroupsOfDp4Tp2Ep4) {
    const Meshes meshes = meshes_of(1, 4, 1, 2, 1, 4);
    EXPECT_EQ(groups_named(meshes, "tp"), (Groups{{0, 1}, {2, 3}, {4, 5}, {6, 7}}));
    EXPECT_EQ(groups_named(meshes, "fsdp"), (Groups{{0, 2, 4, 6}, {1, 3, 5, 7}}));
    EXPECT_EQ(groups_named(meshes, "ep"), (Groups{{0, 1, 2, 3}, {4, 5, 6, 7}}));
    EXPECT_EQ(groups_named(meshes, "efsdp"), (Groups{{0, 4}, {1, 5}, {2, 6}, {3, 7}}));
    EXPECT_EQ(groups_named(meshes, "loss"), (Groups{{0, 2, 4, 6}, {1, 3, 5, 7}}));
}

TEST(Meshes, GoldenGroupsWhereEpLiesInsideTp) {
    const Meshes meshes = meshes_of(1, 2, 1, 4, 1, 2);
    EXPECT_EQ(groups_named(meshes, "ep"), (Groups{{0, 1}, {2, 3}, {4, 5}, {6, 7}}));
    EXPECT_EQ(groups_named(meshes, "efsdp"), (Groups{{0, 2, 4, 6}, {1, 3, 5, 7}}));
}

TEST(Meshes, GoldenGroupsWithReplicasContextAndPipeline) {
    EXPECT_EQ(groups_named(meshes_of(2, 2, 1, 2, 1, 2), "dp_replicate"), (Groups{{0, 4}, {1, 5}, {2, 6}, {3, 7}}));
    EXPECT_EQ(groups_named(meshes_of(1, 2, 2, 2, 1, 4), "fsdp"), (Groups{{0, 2, 4, 6}, {1, 3, 5, 7}}));
    EXPECT_EQ(groups_named(meshes_of(1, 2, 2, 2, 1, 4), "cp"), (Groups{{0, 2}, {1, 3}, {4, 6}, {5, 7}}));
    EXPECT_EQ(groups_named(meshes_of(1, 2, 1, 2, 2, 2), "efsdp"), (Groups{{0, 2}, {1, 3}, {4, 6}, {5, 7}}));
    EXPECT_EQ(groups_named(meshes_of(1, 2, 1, 2, 2, 2), "pp"), (Groups{{0, 4}, {1, 5}, {2, 6}, {3, 7}}));
}

TEST(Meshes, NamesGroupsInTheOrderOfTheContract) {
    std::vector<std::string> names;
    for (const NamedGroups& named : named_groups(meshes_of(1, 2, 1, 1, 1, 1))) names.push_back(named.name);
    EXPECT_THAT(names,
                ::testing::ElementsAre("pp", "dp_replicate", "fsdp", "cp", "tp", "efsdp", "ep", "batch", "loss"));
}

TEST(Mesh, AStridedMeshThatIsNoBijectionIsRefused) {
    EXPECT_THROW((void)Mesh::strided("gap", {{Axis::fsdp, 2, 4}, {Axis::tp, 2, 1}}), BugError);
    EXPECT_THROW((void)Mesh::strided("overlap", {{Axis::fsdp, 2, 1}, {Axis::tp, 2, 1}}), BugError);
    EXPECT_THROW((void)Mesh::strided("twice", {{Axis::tp, 2, 2}, {Axis::tp, 2, 1}}), BugError);
    EXPECT_NO_THROW((void)Mesh::strided("tp outermost", {{Axis::fsdp, 4, 1}, {Axis::tp, 2, 4}}));
}

// Any order of the axes in memory, as Megatron and vLLM choose them.
Mesh any_mesh() {
    std::vector<Axis> order{Axis::pp, Axis::dp_replicate, Axis::fsdp, Axis::tp};
    std::vector<MeshAxis> axes;
    std::int64_t stride = 1;
    for (std::size_t left = order.size(); left > 0; --left) {
        const auto pick = *rc::gen::inRange<std::size_t>(0, left);
        const std::int64_t size = *rc::gen::inRange<std::int64_t>(1, 5);
        axes.push_back({order[pick], size, stride});
        stride *= size;
        order.erase(order.begin() + static_cast<std::ptrdiff_t>(pick));
    }
    std::sort(axes.begin(), axes.end(), [](const MeshAxis& a, const MeshAxis& b) { return a.axis < b.axis; });
    return Mesh::strided("any", axes);
}

RC_GTEST_PROP(Mesh, RankAndCoordinatesAreInverse, ()) {
    const Mesh mesh = any_mesh();
    for (std::int64_t r = 0; r < mesh.num_ranks(); ++r) {
        const std::vector<std::int64_t> coordinates = mesh.coordinates(Rank{r});
        RC_ASSERT(mesh.rank_at(coordinates) == Rank{r});
        for (std::size_t i = 0; i < coordinates.size(); ++i) {
            RC_ASSERT(mesh.coordinate(Rank{r}, mesh.axes()[i].axis) == coordinates[i]);
        }
    }
}

RC_GTEST_PROP(Mesh, GroupsOfEachAxisPartitionTheWorld, ()) {
    const Mesh mesh = any_mesh();
    using Axes = std::vector<Axis>;
    const Axes axes = *rc::gen::elementOf(std::vector<Axes>{
        {Axis::pp}, {Axis::fsdp}, {Axis::tp}, {Axis::fsdp, Axis::tp}, {Axis::dp_replicate, Axis::tp}});
    std::vector<int> seen(static_cast<std::size_t>(mesh.num_ranks()), 0);
    std::int64_t group_size = 1;
    for (const Axis axis : axes) group_size *= mesh.size(axis);
    Rank last_first{-1};
    for (const std::vector<Rank>& group : mesh.groups(axes)) {
        RC_ASSERT(static_cast<std::int64_t>(group.size()) == group_size);
        RC_ASSERT(group.front() > last_first);
        last_first = group.front();
        for (const Rank rank : group) {
            ++seen[rank.idx()];
            RC_ASSERT(mesh.group(rank, axes) == group);
        }
    }
    RC_ASSERT(std::all_of(seen.begin(), seen.end(), [](int times) { return times == 1; }));
}

}  // namespace
}  // namespace shardproof
