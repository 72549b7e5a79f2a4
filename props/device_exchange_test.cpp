#ifdef SHARDPROOF_HAS_GPU
#include "props/device_exchange.hpp"

#include <gtest/gtest.h>

#include "oracle/model/error.hpp"

namespace shardproof::props {
namespace {

LayerShare share_of_two() {
    LayerShare share;
    for (const std::int64_t r : {3, 4}) {
        gpu::MoeRank& rank = share.ranks.emplace_back();
        rank.rank = Rank{r};
        rank.expert_ids = {ExpertId{7}, ExpertId{r}};
        rank.expert_weights = {0.25F, 0.75F};
        rank.output = {.cols = 3, .values = {1.5F, -2.0F, static_cast<float>(r)}};
        rank.dispatched = {1, 2};
        rank.dispatched_ids = {ExpertId{7}};
        rank.dispatch = {.top_k = 2,
                         .rows_to_peer = {0, 2},
                         .rows_to_expert = {1, 1, 0},
                         .slot_token = {0, 0},
                         .slot_choice = {1, 0},
                         .slot_of = {1, 0}};
        rank.expert_begin = {0, 2, 5};
    }
    share.load_failure = Mismatch{.layer = "layers.0.moe.experts.w1",
                                  .rank = Rank{4},
                                  .coordinate = {1, 2, 3},
                                  .got = 0.5,
                                  .want = 1,
                                  .bound = 0,
                                  .why = "loaded bytes are not those of the checkpoint"};
    share.bytes_planned = 10;
    share.bytes_read = 9;
    return share;
}

TEST(DeviceExchange, UnpacksWhatWasPacked) {
    const LayerShare want = share_of_two();
    const LayerShare got = unpack(pack(want));
    ASSERT_EQ(got.ranks.size(), 2U);
    for (std::size_t i = 0; i < 2; ++i) {
        EXPECT_EQ(got.ranks[i].rank, want.ranks[i].rank);
        EXPECT_EQ(got.ranks[i].expert_ids, want.ranks[i].expert_ids);
        EXPECT_EQ(got.ranks[i].expert_weights, want.ranks[i].expert_weights);
        EXPECT_EQ(got.ranks[i].output.values, want.ranks[i].output.values);
        EXPECT_EQ(got.ranks[i].output.cols, 3);
        EXPECT_EQ(got.ranks[i].dispatched.end, 2);
        EXPECT_EQ(got.ranks[i].dispatched_ids, want.ranks[i].dispatched_ids);
        EXPECT_EQ(got.ranks[i].dispatch.slot_choice, want.ranks[i].dispatch.slot_choice);
        EXPECT_EQ(got.ranks[i].dispatch.rows_to_expert, want.ranks[i].dispatch.rows_to_expert);
        EXPECT_EQ(got.ranks[i].expert_begin, want.ranks[i].expert_begin);
    }
    ASSERT_TRUE(got.load_failure);
    EXPECT_EQ(got.load_failure->layer, want.load_failure->layer);
    EXPECT_EQ(got.load_failure->coordinate, want.load_failure->coordinate);
    EXPECT_EQ(got.load_failure->why, want.load_failure->why);
    EXPECT_EQ(got.bytes_planned, 10);
    EXPECT_EQ(got.bytes_read, 9);
}

TEST(DeviceExchange, RefusesBytesThatAreCutOrTooMany) {
    std::vector<std::byte> bytes = pack(share_of_two());
    bytes.push_back(std::byte{0});
    EXPECT_THROW((void)unpack(bytes), BugError);
    bytes.resize(bytes.size() - 9);
    EXPECT_THROW((void)unpack(bytes), BugError);
}

TEST(DeviceExchange, IsOnesOwnShareWhereThereIsOneProcess) {
    EXPECT_EQ(exchange(share_of_two(), nullptr, {}, 0, 1).ranks.size(), 2U);
}

}  // namespace
}  // namespace shardproof::props
#endif
