// Every transport of the table moves the same bytes for the same calls.
#include "gpu/transport/transport.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gpu/transport/transport_test_support.hpp"

namespace shardproof::gpu::transport_test {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class TransportTest : public OnTransport {};

constexpr std::array kCopied{DType::F32, DType::BF16, DType::I32, DType::I64, DType::U8};
constexpr std::array kSummed{DType::F32, DType::BF16, DType::I64};

TEST_P(TransportTest, GathersAndScattersExactly) {
    const auto n = static_cast<std::size_t>(world_);
    Counts uneven;
    Counts holes;
    for (std::size_t m = 0; m < n; ++m) {
        uneven.push_back(static_cast<std::int64_t>(3 * m + 1));
        holes.push_back(m % 2 == 0 ? 0 : 257);
    }
    for (const Counts& counts : {Counts(n, 1), Counts(n, 37), uneven, holes, Counts(n, 0), Counts(n, 100'003)}) {
        for (const DType dtype : kCopied)
            expect_exact({.kind = CollectiveKind::all_gather, .dtype = dtype, .counts = same_for_all(counts)}, all_);
        for (const DType dtype : kSummed)
            expect_exact({.kind = CollectiveKind::reduce_scatter, .dtype = dtype, .counts = same_for_all(counts)},
                         all_);
    }
}

TEST_P(TransportTest, ReducesAndBroadcastsExactly) {
    for (const std::int64_t count : {0, 1, 37, 4096, 1'000'003}) {
        for (const DType dtype : kSummed)
            expect_exact({.kind = CollectiveKind::all_reduce, .dtype = dtype, .counts = same_for_all({count})}, all_);
        for (const DType dtype : kCopied)
            expect_exact({.kind = CollectiveKind::broadcast,
                          .dtype = dtype,
                          .counts = same_for_all({count}),
                          .root_idx = static_cast<std::size_t>(world_ - 1)},
                         all_);
    }
    expect_exact({.kind = CollectiveKind::barrier, .dtype = DType::U8, .counts = same_for_all({})}, all_);
}

TEST_P(TransportTest, ExchangesExactly) {
    for (const DType dtype : kCopied) {
        expect_exact(pairs(dtype, [](std::size_t, std::size_t) { return std::int64_t{3}; }), all_);
        expect_exact(pairs(dtype, [](std::size_t from, std::size_t to) { return (from * 5 + to * 3) % 7; }), all_);
        expect_exact(pairs(dtype, [](std::size_t, std::size_t) { return std::int64_t{0}; }), all_);
        expect_exact(pairs(dtype, [](std::size_t from, std::size_t to) { return to == 0 ? 100 + from : 0; }), all_);
        expect_exact(pairs(dtype, [](std::size_t from, std::size_t to) { return from == to ? 5 : 0; }), all_);
        expect_exact(pairs(dtype, [](std::size_t from, std::size_t to) { return 50'000 + 999 * (from + to); }), all_);
    }
}

TEST_P(TransportTest, ReducesInPlaceAndKeepsTheOrderOfCalls) {
    constexpr std::int64_t kCount = 1000;
    constexpr int kTimes = 40;
    std::deque<Guarded<std::int64_t>> memory;
    std::vector<DeviceCall> calls;
    for (std::size_t m = 0; m < ranks_.size(); ++m) {
        memory.emplace_back(std::vector<std::int64_t>(kCount, static_cast<std::int64_t>(m + 1)), ranks_[m].stream);
        calls.push_back({.kind = CollectiveKind::all_reduce,
                         .group = &all_,
                         .rank = ranks_[m].rank,
                         .dtype = DType::I64,
                         .send = memory.back().data(),
                         .receive = memory.back().data(),
                         .counts = {kCount},
                         .receive_counts = {},
                         .what = "test"});
    }
    Ledger ledger{*transport_, ranks_, 60, nullptr};
    // Each call multiplies the common sum by the world; wrapped sums are as exact as others.
    auto want = static_cast<std::uint64_t>(world_ * (world_ + 1) / 2);
    ledger.enqueue(calls);
    for (int i = 1; i < kTimes; ++i) {
        ledger.enqueue(calls);
        want *= static_cast<std::uint64_t>(world_);
    }
    ledger.wait();
    for (const auto& each : memory)
        expect_equal(each.read(), std::vector<std::int64_t>(kCount, static_cast<std::int64_t>(want)));
}

TEST_P(TransportTest, RunsSeveralGroupsInOneCall) {
    if (world_ < 3) GTEST_SKIP() << "one group";
    // The first rank alone, the last two together, in reverse.
    const RankGroup alone{.axis = "tp", .ranks = {Rank{0}}};
    const RankGroup pair{.axis = "tp", .ranks = {Rank{world_ - 1}, Rank{world_ - 2}}};
    const Exchange one{.kind = CollectiveKind::all_reduce, .dtype = DType::F32, .counts = {{5}}};
    const Exchange two{.kind = CollectiveKind::all_gather, .dtype = DType::F32, .counts = {{4, 9}, {4, 9}}};
    expect_exact(one, alone);
    expect_exact(two, pair);
    Ledger ledger{*transport_, ranks_, 60, nullptr};
    Run first = prepare(one, alone);
    Run second = prepare(two, pair);
    std::vector<DeviceCall> calls = first.calls;
    calls.insert(calls.end(), second.calls.begin(), second.calls.end());
    ledger.enqueue(calls);
    ledger.wait();
    EXPECT_EQ(first.received[0].read(), wanted_at(one, 0));
    EXPECT_EQ(second.received[0].read(), wanted_at(two, 0));
    EXPECT_EQ(second.received[1].read(), wanted_at(two, 1));
    EXPECT_EQ(transport_->trouble(), std::nullopt);
}

TEST_P(TransportTest, DescribesItself) {
    EXPECT_EQ(transport_->name(), GetParam().transport);
    EXPECT_THAT(transport_->describe(), HasSubstr(std::to_string(world_) + " rank"));
}

INSTANTIATE_TEST_SUITE_P(All, TransportTest, testing::ValuesIn(settings()), name_of_setting);

TEST(TransportTableTest, RefusesAnUnknownName) {
    EXPECT_THAT([] { (void)transport_named("carrier pigeon"); },
                ThrowsMessage<InputError>(HasSubstr("carrier pigeon: must be one of nccl, loopback")));
    EXPECT_EQ(transport_named("loopback").name, "loopback");
}

TEST(LoopbackTest, RefusesRanksOfOtherProcesses) {
    SHARDPROOF_NEEDS_GPU();
    const Stream stream;
    const TransportOptions options{.local_ranks = {{.rank = Rank{0}, .device = 0, .stream = stream.view()}},
                                   .world = 2,
                                   .deadline_s = 1,
                                   .store = nullptr};
    EXPECT_THAT([&] { (void)transport_named("loopback").make(options); },
                ThrowsMessage<InputError>(HasSubstr("runs ranks of one process")));
}

}  // namespace
}  // namespace shardproof::gpu::transport_test
