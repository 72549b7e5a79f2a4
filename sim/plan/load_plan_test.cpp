// The form of load plans: how few copies, and which bytes they name.
#include "sim/plan/load_plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/plan/test_params.hpp"

namespace shardproof {
namespace {

TEST(MakeLoadPlan, WholeRowsAreOneContiguousCopyATensor) {
    const Parameter dense{"wq", Role::wq, 0, {32, 8}, {testing::whole_source("q", {32, 8})}};
    const LoadPlan rows = make_load_plan(dense, DType::BF16, {{{8, 16}}, {{0, 8}}});
    ASSERT_EQ(rows.copies.size(), 1U);
    EXPECT_TRUE(rows.copies[0].loops.empty());
    EXPECT_EQ(rows.copies[0].source_begin, 8 * 8 * 2);
    EXPECT_EQ(rows.copies[0].bytes, 8 * 8 * 2);

    const Parameter experts{"w1", Role::expert_w1, 0, {6, 4, 8}, testing::stacked_sources("e", "", {6, 4, 8})};
    const LoadPlan three = make_load_plan(experts, DType::BF16, {{{3, 6}}, {{0, 4}}, {{0, 8}}});
    ASSERT_EQ(three.copies.size(), 3U);
    for (const Copy& copy : three.copies) {
        EXPECT_TRUE(copy.loops.empty());
        EXPECT_EQ(copy.bytes, 4 * 8 * 2);
    }
    EXPECT_THAT(three.tensors, ::testing::ElementsAre("e3", "e4", "e5"));
}

TEST(MakeLoadPlan, ColumnsAreOneLoopAndTransposesCopyElements) {
    const Parameter dense{"wo", Role::wo, 0, {32, 8}, {testing::whole_source("o", {32, 8})}};
    const LoadPlan columns = make_load_plan(dense, DType::BF16, {{{0, 32}}, {{4, 8}}});
    ASSERT_EQ(columns.copies.size(), 1U);
    ASSERT_EQ(columns.copies[0].loops.size(), 1U);
    EXPECT_EQ(columns.copies[0].bytes, 4 * 2);
    EXPECT_EQ(columns.copies[0].loops[0].count, 32);
    EXPECT_EQ(byte_ranges(columns).size(), 32U);

    const LoadPlan transposed =
        make_load_plan(testing::fused_experts(2, 3, 5)[0], DType::BF16, {{{0, 2}}, {{0, 3}}, {{0, 5}}});
    ASSERT_EQ(transposed.copies.size(), 1U);
    EXPECT_EQ(transposed.copies[0].bytes, 2);
    EXPECT_EQ(transposed.copies[0].loops.size(), 3U);
    EXPECT_EQ(byte_ranges(transposed).size(), 10U);  // half of each row of [E,D,2F]
}

TEST(MakeLoadPlan, AnEmptyShardReadsNothing) {
    const Parameter experts{"w1", Role::expert_w1, 0, {3, 4, 8}, testing::stacked_sources("e", "", {3, 4, 8})};
    const LoadPlan plan = make_load_plan(experts, DType::F32, {{}, {{0, 4}}, {{0, 8}}});
    EXPECT_EQ(plan.shape, (Shape{0, 4, 8}));
    EXPECT_EQ(plan.shard_bytes(), 0);
    EXPECT_TRUE(plan.copies.empty());
    EXPECT_TRUE(byte_ranges(plan).empty());
}

}  // namespace
}  // namespace shardproof
