#include "sim/world.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "oracle/model/error.hpp"

namespace shardproof::sim {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::int64_t kRanks = 3;

Group everyone(RankContext& rank, std::int64_t num_ranks = kRanks) {
    std::vector<Rank> ranks;
    for (std::int64_t r = 0; r < num_ranks; ++r) ranks.emplace_back(r);
    return Group{"all", ranks, rank.rank()};
}

CollectiveCall call_of(CollectiveKind kind, const Group& group, std::span<const float> send, std::span<float> receive,
                       std::string_view what = "test") {
    CollectiveCall call;
    call.kind = kind;
    call.group = &group;
    call.dtype = DType::F32;
    call.element_bytes = sizeof(float);
    call.send = std::as_bytes(send);
    call.receive = std::as_writable_bytes(receive);
    call.what = what;
    return call;
}

// Values that name their rank and place: 10 * rank + i.
std::vector<float> tagged(Rank rank, std::int64_t count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    std::iota(values.begin(), values.end(), static_cast<float>(10 * rank.value()));
    return values;
}

TEST(World, AllGatherStacksUnevenPiecesInGroupOrder) {
    std::vector<std::vector<float>> got(kRanks);
    World world{kRanks, 1};
    const auto stall = world.run([&](RankContext& rank) -> Task<void> {
        const Group group = everyone(rank);
        const std::vector<std::int64_t> counts{2, 0, 1};
        const std::vector<float> mine = tagged(rank.rank(), counts[rank.rank().idx()]);
        std::vector<float>& all = got[rank.rank().idx()];
        all.resize(3);
        CollectiveCall call = call_of(CollectiveKind::all_gather, group, mine, all);
        call.receive_counts = counts;
        co_await rank.post(call);
    });
    EXPECT_FALSE(stall);
    for (const auto& all : got) EXPECT_THAT(all, ElementsAre(0.0F, 1.0F, 20.0F));
}

TEST(World, ReduceScatterGivesEachMemberItsSliceOfTheSum) {
    std::vector<std::vector<float>> got(kRanks);
    World world{kRanks, 2};
    const auto stall = world.run([&](RankContext& rank) -> Task<void> {
        const Group group = everyone(rank);
        const std::vector<std::int64_t> counts{1, 3, 0};
        const std::vector<float> mine = tagged(rank.rank(), 4);
        std::vector<float>& slice = got[rank.rank().idx()];
        slice.resize(static_cast<std::size_t>(counts[rank.rank().idx()]));
        CollectiveCall call = call_of(CollectiveKind::reduce_scatter, group, mine, slice);
        call.send_counts = counts;
        co_await rank.post(call);
    });
    EXPECT_FALSE(stall);
    EXPECT_THAT(got[0], ElementsAre(30.0F));
    EXPECT_THAT(got[1], ElementsAre(33.0F, 36.0F, 39.0F));
    EXPECT_TRUE(got[2].empty());
}

TEST(World, AllReduceSumsInPlace) {
    std::vector<std::vector<float>> got(kRanks);
    World world{kRanks, 3};
    const auto stall = world.run([&](RankContext& rank) -> Task<void> {
        const Group group = everyone(rank);
        std::vector<float>& mine = got[rank.rank().idx()];
        mine = tagged(rank.rank(), 2);
        const CollectiveCall call = call_of(CollectiveKind::all_reduce, group, mine, mine);
        co_await rank.post(call);
    });
    EXPECT_FALSE(stall);
    for (const auto& sum : got) EXPECT_THAT(sum, ElementsAre(30.0F, 33.0F));
}

TEST(World, AllToAllMovesEveryBlockToItsPeer) {
    // rank r sends r+j elements to peer j, among them blocks of zero.
    std::vector<std::vector<float>> got(kRanks);
    World world{kRanks, 4};
    const auto stall = world.run([&](RankContext& rank) -> Task<void> {
        const Group group = everyone(rank);
        const std::int64_t r = rank.rank().value();
        const std::vector<std::int64_t> counts{r, r + 1, r + 2};  // symmetric in (r, j)
        const std::vector<float> mine = tagged(rank.rank(), 3 * r + 3);
        std::vector<float>& arrived = got[rank.rank().idx()];
        arrived.resize(mine.size());
        CollectiveCall call = call_of(CollectiveKind::all_to_all, group, mine, arrived);
        call.send_counts = counts;
        call.receive_counts = counts;
        co_await rank.post(call);
    });
    EXPECT_FALSE(stall);
    EXPECT_THAT(got[0], ElementsAre(10.0F, 20.0F, 21.0F));
    EXPECT_THAT(got[1], ElementsAre(0.0F, 11.0F, 12.0F, 22.0F, 23.0F, 24.0F));
    EXPECT_THAT(got[2], ElementsAre(1.0F, 2.0F, 13.0F, 14.0F, 15.0F, 25.0F, 26.0F, 27.0F, 28.0F));
}

TEST(World, BroadcastBarrierSendAndReceive) {
    std::vector<std::vector<float>> got(kRanks, std::vector<float>(2));
    float sent = 0;
    World world{kRanks, 5};
    const auto stall = world.run([&](RankContext& rank) -> Task<void> {
        const Group group = everyone(rank);
        const std::vector<float> mine = tagged(rank.rank(), 2);
        CollectiveCall broadcast = call_of(CollectiveKind::broadcast, group, mine, got[rank.rank().idx()]);
        broadcast.root_idx = 1;
        co_await rank.post(broadcast);
        co_await rank.post(call_of(CollectiveKind::barrier, group, {}, {}));
        if (rank.rank() == Rank{1}) co_return;
        const bool sends = rank.rank() == Rank{2};
        CollectiveCall pair = call_of(sends ? CollectiveKind::send : CollectiveKind::receive, group,
                                      sends ? std::span{mine}.first(1) : std::span<const float>{},
                                      sends ? std::span<float>{} : std::span{&sent, 1});
        pair.peer = sends ? Rank{0} : Rank{2};
        co_await rank.post(pair);
    });
    EXPECT_FALSE(stall);
    for (const auto& value : got) EXPECT_THAT(value, ElementsAre(10.0F, 11.0F));
    EXPECT_EQ(sent, 20.0F);
}

TEST(World, GroupsThatShareRanksDoNotMeetEachOther) {
    // tp groups {0,1} {2,3}, then dp groups {0,2} {1,3}: each sum is of its own group.
    std::vector<float> got(4);
    World world{4, 6};
    const auto stall = world.run([&](RankContext& rank) -> Task<void> {
        const std::int64_t r = rank.rank().value();
        const Group tp{"tp", {Rank{r / 2 * 2}, Rank{r / 2 * 2 + 1}}, rank.rank()};
        const Group dp{"dp", {Rank{r % 2}, Rank{r % 2 + 2}}, rank.rank()};
        std::array<float, 1> value{static_cast<float>(1 << r)};
        co_await rank.post(call_of(CollectiveKind::all_reduce, tp, value, value));
        const float after_tp = value[0];
        co_await rank.post(call_of(CollectiveKind::all_reduce, dp, value, value));
        got[rank.rank().idx()] = value[0] * 100 + after_tp;
    });
    EXPECT_FALSE(stall);
    EXPECT_THAT(got, ElementsAre(1503.0F, 1503.0F, 1512.0F, 1512.0F));
}

Task<void> reduce_twice_unless(RankContext& rank, Rank who, CollectiveKind second_kind, std::size_t count) {
    const Group group = everyone(rank);
    std::vector<float> value(rank.rank() == who ? count : 4);
    co_await rank.post(
        call_of(CollectiveKind::all_reduce, group, std::span{value}.first(1), std::span{value}.first(1)));
    if (rank.rank() == who && second_kind == CollectiveKind::receive) co_return;
    CollectiveCall call = call_of(rank.rank() == who ? second_kind : CollectiveKind::all_reduce, group, value, value);
    if (call.kind == CollectiveKind::barrier) call.send = call.receive = {};
    co_await rank.post(call);
}

TEST(World, ARankThatDoesNotComeIsADeadlockThatNamesItAndTheBytes) {
    World world{kRanks, 7};
    const auto stall =
        world.run([](RankContext& rank) { return reduce_twice_unless(rank, Rank{1}, CollectiveKind::receive, 4); });
    ASSERT_TRUE(stall);
    EXPECT_EQ(stall->kind, Stall::Kind::deadlock);
    ASSERT_EQ(stall->waits.size(), 2U);
    EXPECT_EQ(stall->waits[0].rank, Rank{0});
    EXPECT_THAT(stall->waits[0].absent, ElementsAre(Rank{1}));
    EXPECT_THAT(stall->message, HasSubstr("rank 0 waits in all_reduce(F32, 16 bytes out, 16 in) on all [0,1,2]: test"));
    EXPECT_THAT(stall->message, HasSubstr("for rank 1; rank 1 has ended"));
}

TEST(World, AnotherKindIsAMismatchThatNamesBothCalls) {
    World world{kRanks, 8};
    const auto stall =
        world.run([](RankContext& rank) { return reduce_twice_unless(rank, Rank{2}, CollectiveKind::barrier, 4); });
    ASSERT_TRUE(stall);
    EXPECT_EQ(stall->kind, Stall::Kind::mismatch);
    EXPECT_THAT(stall->message, HasSubstr("kinds differ: rank 0 calls all_reduce"));
    EXPECT_THAT(stall->message, HasSubstr("rank 2 calls barrier"));
}

TEST(World, AnotherCountIsAMismatch) {
    World world{kRanks, 9};
    const auto stall =
        world.run([](RankContext& rank) { return reduce_twice_unless(rank, Rank{2}, CollectiveKind::all_reduce, 5); });
    ASSERT_TRUE(stall);
    EXPECT_THAT(stall->message, HasSubstr("counts differ: rank 0 calls all_reduce(F32, 16 bytes out"));
    EXPECT_THAT(stall->message, HasSubstr("rank 2 calls all_reduce(F32, 20 bytes out"));
}

TEST(World, AnotherDtypeIsAMismatch) {
    World world{2, 10};
    const auto stall = world.run([](RankContext& rank) -> Task<void> {
        const Group group = everyone(rank, 2);
        std::array<float, 2> value{};
        CollectiveCall call = call_of(CollectiveKind::all_reduce, group, value, value);
        if (rank.rank() == Rank{1}) call.dtype = DType::BF16;
        co_await rank.post(call);
    });
    ASSERT_TRUE(stall);
    EXPECT_THAT(stall->message, HasSubstr("dtypes differ"));
    EXPECT_THAT(stall->message, HasSubstr("rank 1 calls all_reduce(BF16"));
}

TEST(World, AllToAllCountsMustBeTheTransposeOfThePeers) {
    World world{2, 11};
    const auto stall = world.run([](RankContext& rank) -> Task<void> {
        const Group group = everyone(rank, 2);
        const std::vector<float> send(2);
        std::vector<float> receive(2);
        // Rank 0 sends nothing to rank 1, which expects one element of it.
        const std::vector<std::int64_t> to =
            rank.rank() == Rank{0} ? std::vector<std::int64_t>{2, 0} : std::vector<std::int64_t>{0, 2};
        const std::vector<std::int64_t> from =
            rank.rank() == Rank{0} ? std::vector<std::int64_t>{2, 0} : std::vector<std::int64_t>{1, 1};
        CollectiveCall call = call_of(CollectiveKind::all_to_all, group, send, receive, "dispatch");
        call.send_counts = to;
        call.receive_counts = from;
        co_await rank.post(call);
    });
    ASSERT_TRUE(stall);
    EXPECT_THAT(stall->message, HasSubstr("counts differ"));
    EXPECT_THAT(stall->message, HasSubstr("0 elements to that peer"));
}

TEST(World, CallsInAnotherOrderAreADeadlockThatSaysWhereThePeerIs) {
    World world{2, 12};
    const auto stall = world.run([](RankContext& rank) -> Task<void> {
        const Group both = everyone(rank, 2);
        std::array<float, 1> value{};
        CollectiveCall pair = call_of(CollectiveKind::receive, both, {}, value, "token");
        pair.peer = Rank{0};
        if (rank.rank() == Rank{1}) co_await rank.post(pair);
        co_await rank.post(call_of(CollectiveKind::all_reduce, both, value, value, "sum"));
    });
    ASSERT_TRUE(stall);
    EXPECT_EQ(stall->kind, Stall::Kind::deadlock);
    EXPECT_THAT(stall->message, HasSubstr("rank 1 waits in receive(F32, 4 bytes) from rank 0: token"));
}

TEST(World, AnExceptionOfOneRankEndsTheRun) {
    World world{kRanks, 13};
    const auto run = [&] {
        (void)world.run([](RankContext& rank) -> Task<void> {
            const Group group = everyone(rank);
            if (rank.rank() == Rank{1}) throw BugError{"rank 1 broke"};
            co_await rank.post(call_of(CollectiveKind::barrier, group, {}, {}));
        });
    };
    EXPECT_THROW(run(), BugError);
}

TEST(World, OneSeedReplaysTheOrderAndAnotherChangesIt) {
    const auto order_of = [](std::uint64_t seed) {
        std::vector<std::int64_t> order;
        World world{8, seed};
        const auto stall = world.run([&](RankContext& rank) -> Task<void> {
            const Group group = everyone(rank, 8);
            for (int i = 0; i < 4; ++i) {
                order.push_back(rank.rank().value());
                co_await rank.post(call_of(CollectiveKind::barrier, group, {}, {}));
            }
        });
        EXPECT_FALSE(stall);
        return order;
    };
    EXPECT_EQ(order_of(42), order_of(42));
    EXPECT_NE(order_of(42), order_of(43));
    EXPECT_EQ(order_of(42).size(), 32U);
}

TEST(World, TraceCountsTheBytesThatTravel) {
    Trace trace;
    World world{kRanks, 14};
    world.set_trace(&trace);
    const auto stall = world.run([](RankContext& rank) -> Task<void> {
        const Group group = everyone(rank);
        std::vector<float> value(5);
        CollectiveCall call = call_of(CollectiveKind::all_reduce, group, value, value, "sum");
        call.dtype = DType::BF16;  // f32 storage of bf16 values
        co_await rank.post(call);
    });
    EXPECT_FALSE(stall);
    ASSERT_EQ(trace.size(), 1U);
    EXPECT_EQ(trace[0].bytes_sent, 3 * 5 * 2);
    EXPECT_EQ(trace[0].what, "sum");
    EXPECT_THAT(trace[0].ranks, ElementsAre(Rank{0}, Rank{1}, Rank{2}));
}

TEST(World, AFaultMaySkipACallOrAlterIt) {
    Faults faults;
    faults.on_call = [](Rank rank, CollectiveCall& call) {
        if (rank == Rank{0} && call.what == "skipped") return Participation::skips;
        return Participation::joins;
    };
    World world{2, 15};
    world.set_faults(&faults);
    const auto stall = world.run([](RankContext& rank) -> Task<void> {
        const Group group = everyone(rank, 2);
        co_await rank.post(call_of(CollectiveKind::barrier, group, {}, {}, "kept"));
        co_await rank.post(call_of(CollectiveKind::barrier, group, {}, {}, "skipped"));
    });
    ASSERT_TRUE(stall);
    EXPECT_THAT(stall->message, HasSubstr("rank 1 waits in barrier"));
}

}  // namespace
}  // namespace shardproof::sim
