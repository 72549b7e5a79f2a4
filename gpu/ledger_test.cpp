// The ledger over a transport and streams that exist only here: what it sees, waits for and reports.
#include "gpu/ledger.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <set>

#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

// Moves nothing; a stream stands still from the first call whose members are not all there.
class FakeTransport final : public Transport {
public:
    [[nodiscard]] std::string_view name() const override { return "fake"; }
    [[nodiscard]] std::string describe() const override { return "fake"; }
    void connect(const RankGroup&) override {}
    void enqueue(std::span<const DeviceCall> calls) override {
        if (refuses) throw StallError{{.kind = DeviceStall::Kind::deadline, .waits = {}, .message = "no way"}};
        ++num_calls;
        for (const DeviceCall& call : calls) {
            for (const Rank member : call.group->ranks) {
                const bool here = std::ranges::any_of(calls, [&](const DeviceCall& c) { return c.rank == member; });
                if (!here || stuck.contains(member)) stuck.insert(call.rank);
            }
        }
    }
    [[nodiscard]] std::optional<Trouble> find_trouble(Look) override { return in_trouble; }
    [[nodiscard]] std::optional<std::vector<Standing>> last_words(std::span<const Standing> mine,
                                                                  double wait_s) noexcept override {
        said.assign(mine.begin(), mine.end());
        asked_for_s = wait_s;
        aborts_when_asked = num_aborts;
        return others;
    }
    void abort() noexcept override { ++num_aborts; }

    std::set<Rank> stuck;
    std::optional<Trouble> in_trouble;
    std::optional<std::vector<Standing>> others;  // what other processes say
    std::vector<Standing> said;
    double asked_for_s = -1;
    int aborts_when_asked = -1;
    bool refuses = false;
    int num_calls = 0;
    int num_aborts = 0;
};

class LedgerTest : public ::testing::Test {
protected:
    static constexpr double kDeadline_s = 0.05;

    LedgerTest() {
        for (std::int64_t r = 0; r < 4; ++r)
            ranks_.push_back({.rank = Rank{r}, .device = 0, .stream = StreamView{cudaStream_t{}}});
    }
    Ledger ledger(const DeviceFaults* faults = nullptr) {
        const Marker marker = [this](const LocalRank& rank) -> Mark {
            if (!transport_.stuck.contains(rank.rank)) return [] { return true; };
            return [] { return false; };
        };
        return {transport_, ranks_, kDeadline_s, faults, marker};
    }
    DeviceCall call(std::int64_t rank, const RankGroup& group, std::int64_t count = 4) {
        DeviceCall call;
        call.kind = CollectiveKind::all_reduce;
        call.group = &group;
        call.rank = Rank{rank};
        call.dtype = DType::F32;
        call.send = call.receive = &memory_;
        call.counts = {count};
        call.what = "sums";
        return call;
    }
    std::vector<DeviceCall> everybody(const RankGroup& group) {
        std::vector<DeviceCall> calls;
        for (const Rank rank : group.ranks) calls.push_back(call(rank.value(), group));
        return calls;
    }
    template <class Body>
    DeviceStall stall_of(Body body) {
        try {
            body();
        } catch (const StallError& error) {
            EXPECT_EQ(error.what(), error.stall().message);
            EXPECT_EQ(error.stall().message.find('\n'), std::string::npos);
            return error.stall();
        }
        ADD_FAILURE() << "no stall";
        return {};
    }

    FakeTransport transport_;
    std::vector<LocalRank> ranks_;
    RankGroup all_{.axis = "ep", .ranks = {Rank{0}, Rank{1}, Rank{2}, Rank{3}}};
    RankGroup low_{.axis = "tp", .ranks = {Rank{0}, Rank{1}}};
    RankGroup high_{.axis = "tp", .ranks = {Rank{2}, Rank{3}}};
    RankGroup far_{.axis = "dp", .ranks = {Rank{0}, Rank{4}}};  // rank 4 is another process's
    float memory_ = 0;
};

TEST_F(LedgerTest, LetsPassWhatAgrees) {
    Ledger ledger = this->ledger();
    for (int i = 0; i < 200; ++i) ledger.enqueue(everybody(all_));
    ledger.wait();
    ledger.wait();
    EXPECT_EQ(transport_.num_calls, 200);
    EXPECT_EQ(ledger.num_waits(), 2);
    EXPECT_EQ(transport_.num_aborts, 0);
}

TEST_F(LedgerTest, RefusesCallsOfOneGroupThatDisagree) {
    Ledger ledger = this->ledger();
    std::vector<DeviceCall> calls = everybody(all_);
    calls[2].counts = {5};
    const DeviceStall stall = stall_of([&] { ledger.enqueue(calls); });
    EXPECT_EQ(stall.kind, DeviceStall::Kind::mismatch);
    EXPECT_EQ(stall.message,
              "mismatched collective: counts differ: rank 0 calls all_reduce(F32, 16 bytes out, 16 in) on ep "
              "[0,1,2,3]: sums, rank 2 calls all_reduce(F32, 20 bytes out, 20 in) on ep [0,1,2,3]: sums");
    EXPECT_EQ(stall.waits.size(), 4U);
    EXPECT_EQ(transport_.num_calls, 0);
    EXPECT_EQ(transport_.num_aborts, 1);
}

TEST_F(LedgerTest, LetsTwoGroupsDiffer) {
    Ledger ledger = this->ledger();
    ledger.enqueue({call(0, low_, 4), call(2, high_, 8), call(1, low_, 4), call(3, high_, 8)});
    ledger.wait();
    EXPECT_EQ(transport_.num_aborts, 0);
}

TEST_F(LedgerTest, NamesTheRankThatSkipsACall) {
    DeviceFaults faults;
    faults.on_call = [](DeviceCall& call) {
        return call.rank == Rank{1} ? Participation::skips : Participation::joins;
    };
    Ledger ledger = this->ledger(&faults);
    ledger.enqueue(everybody(all_));
    const auto begin = std::chrono::steady_clock::now();
    const DeviceStall stall = stall_of([&] { ledger.wait(); });
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds{2});
    EXPECT_EQ(stall.kind, DeviceStall::Kind::deadline);
    EXPECT_EQ(stall.message,
              "deadline of 0.05 s passed: rank 0 waits in all_reduce(F32, 16 bytes out, 16 in) on ep [0,1,2,3]: sums "
              "for rank 1; rank 1 has not called it");
    ASSERT_EQ(stall.waits.size(), 3U);
    EXPECT_EQ(stall.waits[1].rank, Rank{2});
    EXPECT_THAT(stall.waits[1].absent, ElementsAre(Rank{1}));
    EXPECT_EQ(transport_.num_aborts, 1);
}

TEST_F(LedgerTest, SaysInWhichCallAnAbsentRankWaits) {
    DeviceFaults faults;
    faults.on_call = [](DeviceCall& call) {
        return call.rank == Rank{3} ? Participation::skips : Participation::joins;
    };
    Ledger ledger = this->ledger(&faults);
    ledger.enqueue({call(2, high_), call(3, high_)});  // 2 waits for 3
    ledger.enqueue({call(0, all_), call(1, all_), call(2, all_), call(3, all_)});
    const DeviceStall stall = stall_of([&] { ledger.wait(); });
    EXPECT_THAT(stall.message, HasSubstr("rank 0 waits in all_reduce(F32, 16 bytes out, 16 in) on ep [0,1,2,3]: sums "
                                         "for ranks 2, 3; rank 2 waits in all_reduce(F32, 16 bytes out, 16 in) on tp "
                                         "[2,3]: sums"));
    ASSERT_EQ(stall.waits.size(), 3U);
    EXPECT_THAT(stall.waits[2].call, HasSubstr("tp [2,3]"));  // the first unfinished call
}

TEST_F(LedgerTest, SaysWhichMembersBelongToOtherProcesses) {
    Ledger ledger = this->ledger();
    ledger.enqueue({call(0, far_)});
    const DeviceStall stall = stall_of([&] { ledger.wait(); });
    EXPECT_THAT(stall.message, HasSubstr("rank 0 waits in all_reduce(F32, 16 bytes out, 16 in) on dp [0,4]: sums "
                                         "with rank 4 of other processes"));
    EXPECT_THAT(stall.waits.at(0).absent, IsEmpty());
}

TEST_F(LedgerTest, AsksOtherProcessesBeforeTheAbortAndSaysWhereItsRanksStand) {
    Ledger ledger = this->ledger();
    ledger.enqueue({call(2, high_), call(3, high_)});
    ledger.enqueue({call(0, far_)});
    transport_.others.emplace();
    (void)stall_of([&] { ledger.wait(); });
    EXPECT_DOUBLE_EQ(transport_.asked_for_s, kDeadline_s / 4);
    EXPECT_EQ(transport_.aborts_when_asked, 0);
    ASSERT_EQ(transport_.said.size(), 4U);
    EXPECT_EQ(transport_.said[0].call, "all_reduce(F32, 16 bytes out, 16 in) on dp [0,4]: sums");
    EXPECT_EQ(transport_.said[0].group, far_.ranks);
    EXPECT_EQ(transport_.said[0].number, 1);
    EXPECT_EQ(transport_.said[2].call, "");
}

TEST_F(LedgerTest, SaysWhereARankOfAnotherProcessWaits) {
    struct Case {
        std::vector<Standing> said;
        std::string report;
        bool is_absent;
    };
    const std::string before = "on dp [0,4]: sums for rank 4; rank 4 ";
    const std::vector<Case> cases{
        {{{Rank{4}, "all_gather(U8, 1 bytes out, 2 in) on ep [4,5]", {Rank{4}, Rank{5}}, 7}},
         before + "waits in all_gather(U8, 1 bytes out, 2 in) on ep [4,5]",
         true},
        {{{Rank{4}, "", {}, 0}}, before + "waits in no collective", true},
        {{}, before + "has not called it, or does not wait for it", true},
        {{{Rank{4}, "the same", far_.ranks, 1}}, "on dp [0,4]: sums with all its members", false}};
    for (const Case& each : cases) {
        SCOPED_TRACE(each.report);
        FakeTransport transport;
        transport.others = each.said;
        Ledger fresh{transport, ranks_, kDeadline_s, nullptr,
                     [](const LocalRank& rank) -> Mark { return [stuck = rank.rank == Rank{0}] { return !stuck; }; }};
        fresh.enqueue({call(0, far_)});
        const DeviceStall stall = stall_of([&] { fresh.wait(); });
        EXPECT_THAT(stall.message, HasSubstr(each.report));
        EXPECT_EQ(stall.waits.at(0).absent, each.is_absent ? std::vector<Rank>{Rank{4}} : std::vector<Rank>{});
    }
}

TEST_F(LedgerTest, DoesNotTakeAnEarlierCallOfTheGroupForTheSame) {
    transport_.others = {{{Rank{4}, "the first sum", far_.ranks, 1}}};
    int num_marks = 0;
    Ledger ledger{transport_, ranks_, kDeadline_s, nullptr, [&](const LocalRank&) -> Mark {
                      return [done = num_marks++ == 0] { return done; };  // the first call ends
                  }};
    ledger.enqueue({call(0, far_)});
    ledger.enqueue({call(0, far_, 8)});
    const DeviceStall stall = stall_of([&] { ledger.wait(); });
    EXPECT_THAT(stall.message,
                HasSubstr("32 bytes out, 32 in) on dp [0,4]: sums for rank 4; rank 4 waits in the first"));
}

TEST_F(LedgerTest, CallsItAMismatchWhereAnotherProcessCallsSomethingElse) {
    Ledger ledger = this->ledger();
    ledger.enqueue({call(0, far_)});
    transport_.in_trouble = Trouble{.kind = Trouble::Kind::mismatch, .text = "rank 0 calls this, rank 4 calls that"};
    const DeviceStall stall = stall_of([&] { ledger.wait(); });
    EXPECT_EQ(stall.kind, DeviceStall::Kind::mismatch);
    EXPECT_EQ(stall.message, "mismatched collective: rank 0 calls this, rank 4 calls that");
    EXPECT_EQ(stall.waits.size(), 1U);
}

TEST_F(LedgerTest, EndsAtOnceWhenTheTransportIsInTrouble) {
    Ledger ledger = this->ledger();
    ledger.enqueue({call(0, far_)});
    transport_.in_trouble = Trouble{.text = "process 1 is gone"};
    const DeviceStall stall = stall_of([&] { ledger.wait(); });
    EXPECT_EQ(stall.kind, DeviceStall::Kind::peer_lost);
    EXPECT_THAT(stall.message, StartsWith("peer lost: process 1 is gone: rank 0 waits in all_reduce"));
}

TEST_F(LedgerTest, DoesNotTakeACallThatWasCutShortForDone) {
    Ledger ledger = this->ledger();
    ledger.enqueue(everybody(all_));
    transport_.in_trouble = Trouble{.text = "NCCL: remote error"};
    const DeviceStall stall = stall_of([&] { ledger.wait(); });
    EXPECT_EQ(stall.kind, DeviceStall::Kind::peer_lost);
}

TEST_F(LedgerTest, ReportsWhoWaitsWhenTheTransportCannotEnqueue) {
    Ledger ledger = this->ledger();
    transport_.refuses = true;
    const DeviceStall stall = stall_of([&] { ledger.enqueue({call(0, far_)}); });
    EXPECT_EQ(stall.kind, DeviceStall::Kind::deadline);
    EXPECT_THAT(stall.message, HasSubstr("rank 0 waits in all_reduce"));
    EXPECT_EQ(transport_.num_aborts, 1);
}

TEST_F(LedgerTest, PassesOnWhatAHookThrowsAfterAnAbort) {
    DeviceFaults faults;
    faults.on_call = [](DeviceCall& call) -> Participation {
        if (call.rank == Rank{2}) throw std::logic_error{"planted"};
        return Participation::joins;
    };
    Ledger ledger = this->ledger(&faults);
    EXPECT_THROW(ledger.enqueue(everybody(all_)), std::logic_error);
    EXPECT_EQ(transport_.num_calls, 0);
    EXPECT_EQ(transport_.num_aborts, 1);
}

TEST_F(LedgerTest, SeesWhatAHookAltered) {
    DeviceFaults faults;
    faults.on_call = [](DeviceCall& call) {
        if (call.rank == Rank{2}) call.kind = CollectiveKind::broadcast;
        return Participation::joins;
    };
    Ledger ledger = this->ledger(&faults);
    const DeviceStall stall = stall_of([&] { ledger.enqueue(everybody(all_)); });
    EXPECT_THAT(stall.message, StartsWith("mismatched collective: kinds differ: rank 0 calls all_reduce"));
}

TEST_F(LedgerTest, AsksWatchersForTroubleAndStopsThemBeforeTheTransport) {
    Ledger ledger = this->ledger();
    int aborts_when_stopped = -1;
    ledger.watch({.trouble = [] { return std::optional<std::string>{"a kernel gave up"}; },
                  .stop = [&] { aborts_when_stopped = transport_.num_aborts; }});
    ledger.enqueue(everybody(all_));
    const DeviceStall stall = stall_of([&] { ledger.wait(); });
    EXPECT_THAT(stall.message, HasSubstr("a kernel gave up"));
    EXPECT_EQ(aborts_when_stopped, 0);
    EXPECT_EQ(transport_.num_aborts, 1);
}

}  // namespace
}  // namespace shardproof::gpu
