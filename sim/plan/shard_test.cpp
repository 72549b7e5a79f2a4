#include "sim/plan/shard.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace shardproof {
namespace {

Mesh fsdp_tp(std::int64_t fsdp, std::int64_t tp) {
    return Mesh::row_major("dense", {{Axis::fsdp, fsdp}, {Axis::tp, tp}});
}

std::vector<std::int64_t> flat(const IndexRuns& runs) {
    std::vector<std::int64_t> result;
    for (const Run& run : runs) {
        for (std::int64_t i = run.begin; i < run.end; ++i) result.push_back(i);
    }
    return result;
}

TEST(Chunk, IsTorchsAndNotBalanced) {
    EXPECT_EQ(chunk(10, 4, 3), (shardproof::Run{9, 10}));
    EXPECT_EQ(chunk(9, 4, 3), (shardproof::Run{9, 9}));   // empty, recorded at the extent
    EXPECT_EQ(chunk(5, 4, 2), (shardproof::Run{4, 5}));
    EXPECT_EQ(chunk(5, 4, 3), (shardproof::Run{5, 5}));
    EXPECT_EQ(chunk(4, 8, 3), (shardproof::Run{3, 4}));
    EXPECT_EQ(chunk(4, 8, 7), (shardproof::Run{4, 4}));
    EXPECT_EQ(chunk(151936, 48, 47).size(), 3134);
    EXPECT_EQ(chunk(0, 3, 1), (shardproof::Run{0, 0}));
}

TEST(Chunk, OfRunsCountsPositionsNotIndices) {
    EXPECT_EQ(chunk(IndexRuns{{0, 2}, {8, 11}}, 2, 0), (IndexRuns{{0, 2}, {8, 9}}));
    EXPECT_EQ(chunk(IndexRuns{{0, 2}, {8, 11}}, 2, 1), (IndexRuns{{9, 11}}));
}

TEST(ShardIndex, StridedShardAppliesAfterTheAxesToItsRight) {
    const Mesh mesh = fsdp_tp(2, 2);
    const Layout layout{&mesh, {StridedShard{0, 2}, ShardDim{0}}};
    EXPECT_EQ(shard_index(layout, {8}, Rank{0}), (std::vector<IndexRuns>{{{0, 2}}}));
    EXPECT_EQ(shard_index(layout, {8}, Rank{1}), (std::vector<IndexRuns>{{{4, 6}}}));
    EXPECT_EQ(shard_index(layout, {8}, Rank{2}), (std::vector<IndexRuns>{{{2, 4}}}));
    EXPECT_EQ(shard_index(layout, {6}, Rank{2}), (std::vector<IndexRuns>{{{2, 3}}}));
    EXPECT_EQ(shard_index(layout, {6}, Rank{3}), (std::vector<IndexRuns>{{{5, 6}}}));
    const Layout plain{&mesh, {ShardDim{0}, ShardDim{0}}};
    EXPECT_EQ(shard_index(plain, {8}, Rank{1}), (std::vector<IndexRuns>{{{2, 4}}}));
}

TEST(ShardIndex, ExpertsOfQwen3_30BAreNotInRankOrder) {
    const Mesh mesh = Mesh::row_major("sparse", {{Axis::efsdp, 2}, {Axis::ep, 4}});
    const Layout layout{&mesh, {StridedShard{0, 4}, ShardDim{0}}};
    const std::int64_t first[] = {0, 32, 64, 96, 16, 48, 80, 112};
    for (std::int64_t r = 0; r < 8; ++r) {
        EXPECT_EQ(shard_index(layout, {128, 3}, Rank{r}),
                  (std::vector<IndexRuns>{{{first[r], first[r] + 16}}, {{0, 3}}}));
    }
}

TEST(ShardIndex, AnEmptyShardKeepsItsOtherDims) {
    const Mesh mesh = fsdp_tp(4, 1);
    const Layout layout{&mesh, {ShardDim{0}, Replicate{}}};
    const std::vector<IndexRuns> index = shard_index(layout, {3, 5}, Rank{3});
    EXPECT_EQ(index, (std::vector<IndexRuns>{{}, {{0, 5}}}));
    EXPECT_EQ(local_shape(index), (Shape{0, 5}));
}

TEST(ShardIndex, AnOwnerListGivesWhatItLists) {
    const Mesh mesh = fsdp_tp(2, 2);
    // tp rank 0 holds 0-2 and 6, tp rank 1 the rest; then fsdp cuts what each holds.
    const Layout layout{&mesh, {StridedShard{0, 2}, Owners{0, {{{6, 7}, {0, 3}}, {{3, 6}}}}}};
    EXPECT_EQ(shard_index(layout, {7}, Rank{0}), (std::vector<IndexRuns>{{{6, 7}, {0, 1}}}));
    EXPECT_EQ(shard_index(layout, {7}, Rank{2}), (std::vector<IndexRuns>{{{1, 3}}}));
    EXPECT_EQ(shard_index(layout, {7}, Rank{1}), (std::vector<IndexRuns>{{{3, 5}}}));
    EXPECT_EQ(shard_index(layout, {7}, Rank{3}), (std::vector<IndexRuns>{{{5, 6}}}));
}

// Facts 2.3: n = 9, split 2, 4 ways.
TEST(DescribedIndex, IsStridedShardsOwnDefinition) {
    const Mesh mesh = fsdp_tp(4, 1);
    const Layout layout{&mesh, {StridedShard{0, 2}, Replicate{}}};
    EXPECT_EQ(flat(described_index(layout, {9}, Rank{0})[0]), (std::vector<std::int64_t>{0, 1, 5}));
    EXPECT_EQ(flat(described_index(layout, {9}, Rank{1})[0]), (std::vector<std::int64_t>{2, 3, 6}));
    EXPECT_EQ(flat(described_index(layout, {9}, Rank{2})[0]), (std::vector<std::int64_t>{4, 7}));
    EXPECT_EQ(flat(described_index(layout, {9}, Rank{3})[0]), (std::vector<std::int64_t>{8}));
}

// Facts 2.3: n = 9, fsdp 4, tp 2: storage puts row 8 on (f3,t1), the description on (f3,t0).
TEST(DescribedIndex, DiffersFromStorageWhereBothCutUnevenly) {
    const Mesh mesh = fsdp_tp(4, 2);
    const Layout layout{&mesh, {StridedShard{0, 2}, ShardDim{0}}};
    EXPECT_EQ(flat(shard_index(layout, {9}, Rank{7})[0]), (std::vector<std::int64_t>{8}));
    EXPECT_EQ(flat(described_index(layout, {9}, Rank{7})[0]), (std::vector<std::int64_t>{}));
    EXPECT_EQ(flat(described_index(layout, {9}, Rank{6})[0]), (std::vector<std::int64_t>{8}));
}

RC_GTEST_PROP(DescribedIndex, IsTheTruthWhereverTpDividesTheDim, ()) {
    const std::int64_t tp = *rc::gen::inRange<std::int64_t>(1, 6);
    const Mesh mesh = fsdp_tp(*rc::gen::inRange<std::int64_t>(1, 9), tp);
    const Layout layout{&mesh, {StridedShard{0, tp}, ShardDim{0}}};
    const Shape shape{tp * *rc::gen::inRange<std::int64_t>(0, 14)};
    for (std::int64_t r = 0; r < mesh.num_ranks(); ++r) {
        RC_ASSERT(described_index(layout, shape, Rank{r}) == shard_index(layout, shape, Rank{r}));
    }
}

// Against a dealer that knows nothing of closed forms: hand out positions one by one, tp first, then fsdp.
RC_GTEST_PROP(ShardIndex, EqualsDealingIndicesOneByOne, ()) {
    const std::int64_t tp = *rc::gen::inRange<std::int64_t>(1, 6);
    const std::int64_t fsdp = *rc::gen::inRange<std::int64_t>(1, 7);
    const std::int64_t extent = *rc::gen::inRange<std::int64_t>(0, 40);
    const Mesh mesh = fsdp_tp(fsdp, tp);
    const Layout layout{&mesh, {StridedShard{0, tp}, ShardDim{0}}};
    const auto deal = [](const std::vector<std::int64_t>& from, std::int64_t parts) {
        std::vector<std::vector<std::int64_t>> hands(static_cast<std::size_t>(parts));
        const std::size_t size = (from.size() + hands.size() - 1) / hands.size();
        for (std::size_t i = 0; i < from.size(); ++i) hands[i / size].push_back(from[i]);
        return hands;
    };
    std::vector<std::int64_t> all;
    for (std::int64_t i = 0; i < extent; ++i) all.push_back(i);
    const auto columns = deal(all, tp);
    for (std::int64_t t = 0; t < tp; ++t) {
        const auto rows = deal(columns[static_cast<std::size_t>(t)], fsdp);
        for (std::int64_t f = 0; f < fsdp; ++f) {
            const auto index = shard_index(layout, {extent}, Rank{f * tp + t});
            RC_ASSERT(flat(index[0]) == rows[static_cast<std::size_t>(f)]);
        }
    }
}

TEST(Placement, PrintsAsTheContractSpellsIt) {
    EXPECT_EQ(to_string(Replicate{}), "R");
    EXPECT_EQ(to_string(ShardDim{2}), "S(2)");
    EXPECT_EQ(to_string(StridedShard{0, 4}), "SS(0,4)");
    EXPECT_EQ(to_string(Partial{}), "P");
    EXPECT_EQ(to_string(Owners{1, {}}), "O(1)");
}

}  // namespace
}  // namespace shardproof
