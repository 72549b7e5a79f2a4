// Every transport of the table, with 1 to 8 ranks of this process on one GPU: the same calls, the same faults.
#include "gpu/transport/transport.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <deque>
#include <numeric>

#include "gpu/gpu_test_support.hpp"
#include "gpu/ledger.hpp"
#include "gpu/transport/gate.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using ::testing::ThrowsMessage;

using Bytes = std::vector<std::byte>;
using Counts = std::vector<std::int64_t>;

std::int64_t sum_of(const Counts& counts) { return std::accumulate(counts.begin(), counts.end(), std::int64_t{0}); }

// What member i of a group gives and gets, in elements.
struct Exchange {
    CollectiveKind kind{};
    DType dtype{};
    std::vector<Counts> counts = {};          // of each member
    std::vector<Counts> receive_counts = {};  // all_to_all only
    std::size_t root_idx = 0;
};

// Small whole numbers: sums of 16 are exact in every dtype here, in any order.
std::int64_t value_at(std::size_t member, std::int64_t element) {
    return (static_cast<std::int64_t>(member) * 7 + element * 3) % 8;
}

template <class T>
void append(Bytes& bytes, T value) {
    const auto raw = std::as_bytes(std::span{&value, 1});
    bytes.insert(bytes.end(), raw.begin(), raw.end());
}

void append_as(Bytes& bytes, DType dtype, std::int64_t value) {
    switch (dtype) {
        case DType::F32:
            return append(bytes, static_cast<float>(value));
        case DType::BF16:
            return append(bytes,
                          static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(static_cast<float>(value)) >> 16));
        case DType::I64:
            return append(bytes, value);
        case DType::I32:
            return append(bytes, static_cast<std::int32_t>(value));
        default:
            ASSERT_EQ(dtype, DType::U8);
            return append(bytes, static_cast<std::uint8_t>(value));
    }
}

std::int64_t elements_sent(const Exchange& x, std::size_t member) {
    if (x.kind == CollectiveKind::all_gather) return x.counts[member][member];
    if (x.kind == CollectiveKind::broadcast && member != x.root_idx) return 0;
    return sum_of(x.counts[member]);
}

Bytes sent_by(const Exchange& x, std::size_t member) {
    Bytes bytes;
    for (std::int64_t e = 0; e < elements_sent(x, member); ++e) append_as(bytes, x.dtype, value_at(member, e));
    return bytes;
}

Bytes wanted_at(const Exchange& x, std::size_t member) {
    const std::size_t members = x.counts.size();
    Bytes bytes;
    const auto copied = [&](std::size_t from, std::int64_t begin, std::int64_t count) {
        for (std::int64_t e = begin; e < begin + count; ++e) append_as(bytes, x.dtype, value_at(from, e));
    };
    const auto summed = [&](std::int64_t begin, std::int64_t count) {
        for (std::int64_t e = begin; e < begin + count; ++e) {
            std::int64_t sum = 0;
            for (std::size_t m = 0; m < members; ++m) sum += value_at(m, e);
            append_as(bytes, x.dtype, sum);
        }
    };
    const auto before = [](const Counts& counts, std::size_t idx) {
        return std::accumulate(counts.begin(), counts.begin() + static_cast<std::ptrdiff_t>(idx), std::int64_t{0});
    };
    switch (x.kind) {
        case CollectiveKind::all_gather:
            for (std::size_t m = 0; m < members; ++m) copied(m, 0, x.counts[m][m]);
            break;
        case CollectiveKind::reduce_scatter:
            summed(before(x.counts[member], member), x.counts[member][member]);
            break;
        case CollectiveKind::all_reduce:
            summed(0, sum_of(x.counts[member]));
            break;
        case CollectiveKind::all_to_all:
            for (std::size_t m = 0; m < members; ++m) copied(m, before(x.counts[m], member), x.counts[m][member]);
            break;
        case CollectiveKind::broadcast:
            copied(x.root_idx, 0, sum_of(x.counts[member]));
            break;
        case CollectiveKind::barrier:
            break;
    }
    return bytes;
}

struct Setting {
    std::string_view transport;
    std::int64_t world = 1;
};

class TransportTest : public ::testing::TestWithParam<Setting> {
protected:
    static constexpr double kDeadline_s = 2;

    void SetUp() override {
        SHARDPROOF_NEEDS_GPU();
        world_ = GetParam().world;
        for (std::int64_t r = 0; r < world_; ++r) {
            streams_.emplace_back();
            ranks_.push_back({.rank = Rank{r}, .device = 0, .stream = streams_.back().view()});
            all_.ranks.emplace_back(r);
        }
        try {
            renew();
        } catch (const EnvironmentError& error) {
            GTEST_SKIP() << error.what();
        }
    }

    void renew(double deadline_s = 60) {
        transport_.reset();
        transport_ = transport_named(GetParam().transport)
                         .make({.local_ranks = ranks_, .world = world_, .deadline_s = deadline_s, .store = nullptr});
    }

    [[nodiscard]] std::vector<Counts> same_for_all(const Counts& counts) const {
        return std::vector<Counts>(static_cast<std::size_t>(world_), counts);
    }

    // count(from, to) elements of each pair.
    template <class Count>
    [[nodiscard]] Exchange pairs(DType dtype, Count count) const {
        const auto n = static_cast<std::size_t>(world_);
        Exchange x{.kind = CollectiveKind::all_to_all, .dtype = dtype, .counts = {}, .receive_counts = {}};
        for (std::size_t from = 0; from < n; ++from) {
            x.counts.emplace_back();
            x.receive_counts.emplace_back();
            for (std::size_t to = 0; to < n; ++to) {
                x.counts.back().push_back(count(from, to));
                x.receive_counts.back().push_back(count(to, from));
            }
        }
        return x;
    }

    // The memory of one exchange on one group, and its calls.
    struct Run {
        std::deque<Guarded<std::byte>> sent;
        std::deque<Guarded<std::byte>> received;
        std::vector<DeviceCall> calls;
    };
    [[nodiscard]] Run prepare(const Exchange& x, const RankGroup& group) {
        Run run;
        for (std::size_t m = 0; m < group.size(); ++m) {
            const LocalRank& local = ranks_[group.ranks[m].idx()];
            run.sent.emplace_back(sent_by(x, m), local.stream);
            DeviceCall call{.kind = x.kind,
                            .group = &group,
                            .rank = local.rank,
                            .dtype = x.dtype,
                            .send = run.sent.back().data(),
                            .receive = nullptr,
                            .counts = x.counts[m],
                            .receive_counts = x.receive_counts.empty() ? Counts{} : x.receive_counts[m],
                            .root_idx = x.root_idx,
                            .what = "test"};
            run.received.emplace_back(call.receive_bytes(), local.stream);
            call.receive = run.received.back().data();
            run.calls.push_back(std::move(call));
        }
        return run;
    }

    void expect_exact(const Exchange& x, const RankGroup& group) {
        SCOPED_TRACE(std::string{name_of(x.kind)} + " of " + std::string{name_of(x.dtype)} + ", counts of the first " +
                     testing::PrintToString(x.counts[0]));
        Ledger ledger{*transport_, ranks_, 60, nullptr};
        Run run = prepare(x, group);
        ledger.enqueue(run.calls);
        // A stream that goes on overwrites at once what it has sent.
        for (std::size_t m = 0; m < group.size(); ++m)
            check(cudaMemsetAsync(run.sent[m].data(), 0xEE, static_cast<std::size_t>(run.calls[m].send_bytes()),
                                  ranks_[group.ranks[m].idx()].stream.raw()));
        ledger.wait();
        for (std::size_t m = 0; m < group.size(); ++m) {
            const Bytes got = run.received[m].read();
            const Bytes want = wanted_at(x, m);
            ASSERT_EQ(got.size(), want.size());
            const auto [at, wanted] = std::mismatch(got.begin(), got.end(), want.begin());
            ASSERT_TRUE(at == got.end()) << "member " << m << ", byte " << at - got.begin();
        }
    }

    template <class Body>
    DeviceStall stall_of(Body body) {
        const auto begin = std::chrono::steady_clock::now();
        try {
            body();
        } catch (const StallError& error) {
            const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
            EXPECT_LT(took.count(), 2 * kDeadline_s + 3);
            return error.stall();
        }
        ADD_FAILURE() << "no stall";
        return {};
    }

    // What was aborted ran to its end, and a fresh transport works.
    void expect_recovery() {
        for (const LocalRank& rank : ranks_) check(cudaStreamSynchronize(rank.stream.raw()));
        EXPECT_TRUE(transport_->trouble().has_value());
        renew();
        expect_exact({.kind = CollectiveKind::all_reduce, .dtype = DType::F32, .counts = same_for_all({33})}, all_);
    }

    [[nodiscard]] Exchange all_to_all() const {
        return pairs(DType::F32, [](std::size_t, std::size_t) { return std::int64_t{64}; });
    }

    std::int64_t world_ = 1;
    std::deque<Stream> streams_;
    std::vector<LocalRank> ranks_;
    RankGroup all_{.axis = "ep", .ranks = {}};
    std::unique_ptr<Transport> transport_;
};

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

TEST_P(TransportTest, EndsByTheDeadlineWhenARankSkipsACall) {
    if (world_ < 2) GTEST_SKIP() << "one rank";
    for (const bool connected : {false, true}) {
        SCOPED_TRACE(connected ? "after a call that all made" : "in the first call");
        renew(kDeadline_s);
        bool skips = !connected;
        DeviceFaults faults;
        faults.on_call = [&](DeviceCall& call) {
            return skips && call.rank == Rank{world_ - 1} ? Participation::skips : Participation::joins;
        };
        Ledger ledger{*transport_, ranks_, kDeadline_s, &faults};
        Run run = prepare(all_to_all(), all_);
        transport_->connect(all_);
        if (connected) {
            ledger.enqueue(run.calls);
            ledger.wait();
            skips = true;
        }
        const DeviceStall stall = stall_of([&] {
            ledger.enqueue(run.calls);
            ledger.wait();
        });
        EXPECT_EQ(stall.kind, DeviceStall::Kind::deadline);
        EXPECT_THAT(stall.message,
                    AllOf(StartsWith("deadline of 2 s passed: rank 0 waits in all_to_all(F32, "),
                          HasSubstr("for rank " + std::to_string(world_ - 1)), HasSubstr("has not called it")));
        EXPECT_EQ(stall.waits.size(), static_cast<std::size_t>(world_ - 1));
        expect_recovery();
    }
}

TEST_P(TransportTest, EndsByTheDeadlineWhenAStreamStalls) {
    if (world_ < 2) GTEST_SKIP() << "one rank";
    renew(kDeadline_s);
    Gate gate{60};
    Ledger ledger{*transport_, ranks_, kDeadline_s, nullptr};
    ledger.watch({.trouble = [] { return std::nullopt; }, .stop = [&] { gate.open(); }});
    Run run = prepare(all_to_all(), all_);
    ledger.enqueue(run.calls);
    ledger.wait();
    gate.hold(ranks_[1].stream);
    const DeviceStall stall = stall_of([&] {
        ledger.enqueue(run.calls);
        ledger.wait();
    });
    EXPECT_EQ(stall.kind, DeviceStall::Kind::deadline);
    EXPECT_THAT(stall.message, HasSubstr("waits in all_to_all(F32, "));
    expect_recovery();
}

TEST_P(TransportTest, EndsAtOnceWhenARankCallsSomethingElse) {
    if (world_ < 2) GTEST_SKIP() << "one rank";
    DeviceFaults faults;
    faults.on_call = [](DeviceCall& call) {
        if (call.rank == Rank{1}) call.dtype = DType::I32;
        return Participation::joins;
    };
    Ledger ledger{*transport_, ranks_, kDeadline_s, &faults};
    Run run = prepare(all_to_all(), all_);
    const DeviceStall stall = stall_of([&] { ledger.enqueue(run.calls); });
    EXPECT_EQ(stall.kind, DeviceStall::Kind::mismatch);
    EXPECT_THAT(stall.message, AllOf(StartsWith("mismatched collective: dtypes differ: rank 0 calls all_to_all(F32"),
                                     HasSubstr("rank 1 calls all_to_all(I32")));
    expect_recovery();
}

TEST_P(TransportTest, PassesOnWhatARankThrows) {
    DeviceFaults faults;
    faults.on_call = [&](DeviceCall& call) -> Participation {
        if (call.rank == Rank{world_ - 1}) throw std::runtime_error{"planted"};
        return Participation::joins;
    };
    Ledger ledger{*transport_, ranks_, kDeadline_s, &faults};
    Run run = prepare(all_to_all(), all_);
    EXPECT_THAT([&] { ledger.enqueue(run.calls); }, ThrowsMessage<std::runtime_error>("planted"));
    expect_recovery();
}

TEST_P(TransportTest, DescribesItself) {
    EXPECT_EQ(transport_->name(), GetParam().transport);
    EXPECT_THAT(transport_->describe(), HasSubstr(std::to_string(world_) + " rank"));
}

std::vector<Setting> settings() {
    std::vector<Setting> all;
    for (const TransportRow& row : transports()) {
        for (const std::int64_t world : {1, 2, 3, 4, 8}) all.push_back({.transport = row.name, .world = world});
    }
    return all;
}
std::string name_of_setting(const testing::TestParamInfo<Setting>& info) {
    return std::string{info.param.transport} + "_" + std::to_string(info.param.world);
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
}  // namespace shardproof::gpu
