#include "gpu/dispatchers/windows_layout.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gpu/dispatchers/windows.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

// Three peers with 2, 0 and 3 experts.
ExpertMap uneven_experts() {
    return {.num_peers = 3,
            .home = {{2, LocalExpert{0}},
                     {0, LocalExpert{0}},
                     {2, LocalExpert{1}},
                     {0, LocalExpert{1}},
                     {2, LocalExpert{2}}},
            .held = {{ExpertId{1}, ExpertId{3}}, {}, {ExpertId{0}, ExpertId{2}, ExpertId{4}}}};
}

WindowShape uneven_shape(const ExpertMap& experts, std::int64_t hidden = 3) {
    const std::vector<Rank> group{Rank{1}, Rank{2}, Rank{5}};
    return window_shape({.hidden = hidden,
                         .top_k = 3,
                         .arithmetic = Arithmetic::bf16,
                         .experts = &experts,
                         .rows_of_rank = {90, 4, 0, 90, 90, 7}},
                        group);
}

TEST(WindowShape, ATokenTakesARowOfEachOfItsExpertsAndNoMore) {
    const ExpertMap experts = uneven_experts();
    const WindowShape shape = uneven_shape(experts);
    EXPECT_THAT(shape.first_at, ElementsAre(0, 2, 2, 5));
    EXPECT_THAT(shape.capacity, ElementsAre(11 * 2, 0, 11 * 3));
    EXPECT_EQ(shape.returned_rows, 7 * 3);
    EXPECT_EQ(shape.row_bytes, 6);
    EXPECT_EQ(shape.locals(2), 3);
}

TEST(WindowLayout, PiecesAreAlignedAndDoNotOverlap) {
    const ExpertMap experts = uneven_experts();
    for (const std::int64_t hidden : {1, 3, 64, 2048}) {
        const WindowShape shape = uneven_shape(experts, hidden);
        const WindowLayout layout = window_layout(shape);
        EXPECT_GE(layout.arrived, layout.counts + 3 * 5 * 4);
        EXPECT_GE(layout.returned, layout.arrived + 33 * shape.row_bytes);
        EXPECT_GE(layout.bytes, layout.returned + 21 * shape.row_bytes);
        EXPECT_EQ(layout.arrived % 16, 0);
        EXPECT_EQ(layout.returned % 16, 0);
        EXPECT_EQ(layout.bytes % 4096, 0);
    }
}

TEST(WindowTables, PiecesDoNotOverlap) {
    const ExpertMap experts = uneven_experts();
    const WindowShape shape = uneven_shape(experts);
    for (std::int64_t peer = 0; peer < 3; ++peer) {
        const WindowTables tables = window_tables(shape, peer);
        const std::int64_t cells = shape.locals(peer) * 3;
        EXPECT_GE(tables.capacity, tables.first_at + 4);
        EXPECT_GE(tables.to_row, tables.capacity + 3);
        EXPECT_GE(tables.expert_begin, tables.to_row + 5);
        EXPECT_GE(tables.back_begin, tables.expert_begin + shape.locals(peer) + 1);
        EXPECT_GE(tables.slot_begin, tables.back_begin + cells + 1);
        EXPECT_GE(tables.count, tables.slot_begin + cells);
    }
}

TEST(WindowShape, RefusesMoreExpertsThanTheTablesHold) {
    ExpertMap experts{.num_peers = 1, .home = {}, .held = {{}}};
    experts.home.resize(8193);
    experts.held[0].resize(8193);
    const std::vector<Rank> group{Rank{0}};
    const DispatchShape shape{.hidden = 1, .top_k = 1, .experts = &experts, .rows_of_rank = {1}};
    EXPECT_THAT([&] { static_cast<void>(window_shape(shape, group)); },
                ThrowsMessage<InputError>(HasSubstr("8193 experts, it takes at most 8192")));
}

TEST(WindowBlocks, AllRanksOfADeviceAreResidentAtOnce) {
    for (std::int64_t ranks = 1; ranks <= 8; ++ranks) {
        const int blocks = window_blocks(132, ranks);
        EXPECT_GE(blocks, 16);
        EXPECT_LE(blocks, 32);
        EXPECT_LE(blocks * ranks, 132);
    }
    EXPECT_EQ(window_blocks(4, 8), 1);
}

TEST(WindowBlocks, RefusesSixteenRanksOnOneGpu) {
    EXPECT_THAT([] { static_cast<void>(window_blocks(132, 16)); },
                ThrowsMessage<EnvironmentError>(HasSubstr("16 ranks on one GPU")));
}

TEST(Windows, GoWithTheNcclOfTheirHeadersOnly) {
    EXPECT_THAT(windows_why_not("loopback", 0).value_or(""), HasSubstr("only the transport nccl"));
    if (!windows_were_built()) {
        EXPECT_THAT(windows_why_not("nccl", 23203).value_or(""), HasSubstr("no headers of NCCL 2.32.3"));
        return;
    }
    EXPECT_EQ(windows_why_not("nccl", 23203), std::nullopt);
    for (const int version : {23004, 23107, 23204})
        EXPECT_THAT(windows_why_not("nccl", version).value_or(""),
                    HasSubstr("was found, the kernels are compiled for"));
    EXPECT_THAT(windows_why_not("nccl", 23107).value_or(""), HasSubstr("NCCL 2.31.7"));
}

}  // namespace
}  // namespace shardproof::gpu
