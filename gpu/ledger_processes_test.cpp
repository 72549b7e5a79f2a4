// Ledgers of three processes, forked here, over a transport that moves nothing and tells of its calls through a store:
// what each process reports when one of them misbehaves. No device is needed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <thread>

#include "gpu/ledger.hpp"
#include "gpu/transport/peers.hpp"
#include "gpu/transport/store.hpp"
#include "gpu/transport/store_test_support.hpp"

namespace shardproof::gpu {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Matcher;

using namespace store_test;

constexpr double kDeadline_s = 1;
constexpr std::int64_t kVictim = 1;  // the rank that misbehaves
constexpr const char* kSum = "waits in all_reduce(F32, 32 bytes out, 32 in) on ep [0,1,2]: sums";

// A call ends when all members have made as many calls, whatever they are.
class CountingTransport final : public Transport {
public:
    CountingTransport(Store& store, std::int64_t rank, const RankGroup& group)
        : store_{store}, rank_{rank}, group_{group} {}
    [[nodiscard]] std::string_view name() const override { return "counting"; }
    [[nodiscard]] std::string describe() const override { return "counting"; }
    void connect(const RankGroup&) override {}
    void enqueue(std::span<const DeviceCall> calls) override {
        if (calls.empty()) return;
        peers_.called(calls);
        store_.set(came(++num_calls_, rank_), {});
    }
    [[nodiscard]] std::optional<Trouble> find_trouble(Look look) override { return peers_.trouble(look); }
    [[nodiscard]] std::optional<std::vector<Standing>> last_words(std::span<const Standing> mine,
                                                                  double wait_s) noexcept override {
        std::vector<Rank> others;
        std::ranges::copy_if(group_.ranks, std::back_inserter(others), [&](Rank r) { return r.value() != rank_; });
        return peers_.last_words(mine, others, wait_s);
    }
    void abort() noexcept override { peers_.quit(); }

    [[nodiscard]] Marker marker() {
        return [this](const LocalRank&) -> Mark {
            return [this, number = num_calls_] {
                return number == 0 || std::ranges::all_of(group_.ranks, [&](Rank rank) {
                           return store_.peek(came(number, rank.value())).has_value();
                       });
            };
        };
    }

private:
    static std::string came(std::int64_t number, std::int64_t rank) {
        return "came/" + std::to_string(number) + "/" + std::to_string(rank);
    }
    Store& store_;
    std::int64_t rank_;
    const RankGroup& group_;
    Peers peers_{&store_, "counting/"};
    std::int64_t num_calls_ = 0;
};

struct Player {
    explicit Player(const Processes& self, const DeviceFaults* faults = nullptr)
        : rank{self.rank},
          store{self, 10},
          transport{store, self.rank, group},
          ranks{{.rank = Rank{self.rank}, .device = 0, .stream = StreamView{cudaStream_t{}}}},
          ledger{transport, ranks, kDeadline_s, faults, transport.marker()} {}
    void sum() {
        DeviceCall call;
        call.kind = CollectiveKind::all_reduce;
        call.group = &group;
        call.rank = Rank{rank};
        call.dtype = DType::F32;
        call.send = call.receive = &memory;
        call.counts = {8};
        call.what = "sums";
        ledger.enqueue({call});
        ledger.wait();
    }
    // A sum that is well on all processes: who goes on does so only when nobody waits for it any longer.
    void sum_together() {
        sum();
        EXPECT_EQ(store.barrier("summed", 10), std::nullopt);
    }
    [[nodiscard]] bool is_victim() const { return rank == kVictim; }

    std::int64_t rank;
    Store store;
    RankGroup group{.axis = "ep", .ranks = {Rank{0}, Rank{1}, Rank{2}}};
    CountingTransport transport;
    std::vector<LocalRank> ranks;
    Ledger ledger;
    float memory = 0;
};

// The report of a rank that is to be stopped, empty where it is not; within the deadline, and a little for the words.
std::string report_of(const std::function<void()>& body) {
    const auto begin = std::chrono::steady_clock::now();
    std::string report;
    try {
        body();
    } catch (const StallError& error) {
        report = error.what();
    }
    if (seconds_since(begin) > 1.5 * kDeadline_s + 0.5) return "too late: " + report;
    return report;
}

using Role = std::function<std::string(Player& player)>;

// Runs the role in three processes, and compares the reports of those that are not the victim, which says "well".
void play(const Role& role, const Matcher<std::string>& expected, const DeviceFaults* faults = nullptr) {
    const std::uint16_t port = free_port();
    const auto plays = [&](std::int64_t rank) {
        Player player{process(rank, 3, port), faults};
        std::string report = role(player);
        (void)player.store.barrier("end", 10);
        return report;
    };
    const auto plays_well = [&](std::int64_t rank) {
        const std::string report = plays(rank);
        const bool well = rank == kVictim ? report == "well" : expected.Matches(report);
        if (!well) std::fprintf(stderr, "rank %d reports: %s\n", static_cast<int>(rank), report.c_str());
        return well;
    };
    Child victim{[&] { return plays_well(kVictim); }};
    Child other{[&] { return plays_well(2); }};
    EXPECT_THAT(plays(0), expected);
    EXPECT_TRUE(victim.ended_well());
    EXPECT_TRUE(other.ended_well());
}

// A hook that misbehaves in the victim's second call.
DeviceFaults in_second_call(std::function<Participation(DeviceCall&)> fault) {
    return {[fault = std::move(fault), num_calls = 0](DeviceCall& call) mutable {
        return ++num_calls == 2 && call.rank == Rank{kVictim} ? fault(call) : Participation::joins;
    }};
}

TEST(LedgerProcessesTest, LetPassWhatAgrees) {
    play(
        [](Player& player) {
            const std::string report = report_of([&] {
                for (int i = 0; i < 20; ++i) player.sum();
            });
            return report.empty() ? "well" : report;
        },
        testing::StrEq("well"));
}

TEST(LedgerProcessesTest, NameTheProcessThatThrew) {
    const DeviceFaults faults = in_second_call([](DeviceCall&) -> Participation { throw std::logic_error{"planted"}; });
    play(
        [](Player& player) -> std::string {
            player.sum_together();
            try {
                return report_of([&] { player.sum(); });
            } catch (const std::logic_error&) {
                return "well";
            }
        },
        AllOf(testing::ContainsRegex("^peer lost: process(es)? [02, ]*1[02, ]* gave up"), HasSubstr(kSum)), &faults);
}

TEST(LedgerProcessesTest, FindOtherCallsThatEndAllTheSame) {
    const DeviceFaults faults = in_second_call([](DeviceCall& call) {
        call.dtype = DType::I64;  // as many bytes
        call.counts = {4};
        return Participation::joins;
    });
    const auto expected = AllOf(HasSubstr("mismatched collective: call 2 of the group differs"),
                                HasSubstr("calls all_reduce(F32, 32 bytes out, 32 in) on ep [0,1,2]: sums"),
                                HasSubstr("rank 1 calls all_reduce(I64, 32 bytes out, 32 in) on ep [0,1,2]: sums"));
    play(
        [&](Player& player) -> std::string {
            player.sum_together();
            const std::string report = report_of([&] {
                player.sum();
                // Who comes to the end first is told at its next wait.
                for (int i = 0; i < 50; ++i) {
                    std::this_thread::sleep_for(std::chrono::milliseconds{10});
                    player.ledger.wait();
                }
            });
            if (!player.is_victim()) return report;
            return testing::Matches(expected)(report) ? "well" : report;
        },
        expected, &faults);
}

TEST(LedgerProcessesTest, NameTheRankThatSkipsACall) {
    const DeviceFaults faults = in_second_call([](DeviceCall&) { return Participation::skips; });
    play(
        [](Player& player) -> std::string {
            player.sum_together();
            const std::string report = report_of([&] { player.sum(); });
            // The victim has nothing to wait for.
            return player.is_victim() && report.empty() ? "well" : report;
        },
        AllOf(HasSubstr(kSum), HasSubstr("for rank 1; rank 1 has not called it")), &faults);
}

TEST(LedgerProcessesTest, SleepersLearnThatTheOthersGaveUp) {
    play(
        [](Player& player) -> std::string {
            player.sum_together();
            if (player.is_victim()) std::this_thread::sleep_for(std::chrono::duration<double>(2 * kDeadline_s));
            const std::string report = report_of([&] { player.sum(); });
            if (!player.is_victim()) return report;
            return testing::Matches(AllOf(HasSubstr("peer lost: process"), HasSubstr("gave up")))(report) ? "well"
                                                                                                          : report;
        },
        AllOf(HasSubstr(kSum), HasSubstr("for rank 1; rank 1 has not called it")));
}

}  // namespace
}  // namespace shardproof::gpu
