// One process a rank on one GPU, as a launcher starts them: this program starts itself again, once a rank, in a role.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <numeric>
#include <thread>

#include "gpu/gpu_test_support.hpp"
#include "gpu/ledger.hpp"
#include "gpu/transport/gate.hpp"
#include "gpu/transport/nccl_library.hpp"
#include "gpu/transport/processes.hpp"
#include "gpu/transport/roles_test_support.hpp"
#include "gpu/transport/store.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

using roles_test::Launch;

constexpr double kDeadline_s = 5;
constexpr std::int64_t kVictim = 1;  // the rank that misbehaves
constexpr const char* kSum = "waits in all_reduce(I64, 8000 bytes out, 8000 in) on ep";

double seconds_since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// One rank of one process, with its transport.
struct Player {
    explicit Player(const Processes& found) : processes{found}, store{found, 30} {
        ranks.push_back({.rank = Rank{found.rank}, .device = 0, .stream = stream.view()});
        for (std::int64_t r = 0; r < found.world; ++r) all.ranks.emplace_back(r);
        // The processes start at different times; only what comes after that is held against them.
        (void)store.barrier("start", 60);
        transport = transport_named("nccl").make(
            {.local_ranks = ranks, .world = found.world, .deadline_s = kDeadline_s, .store = &store});
    }
    [[nodiscard]] bool is_victim() const { return processes.rank == kVictim; }
    // Sums 1, 2, ... over all ranks. Throws StallError.
    void sum(Ledger& ledger) {
        const std::vector<std::int64_t> mine(1000, processes.rank + 1);
        const Guarded<std::int64_t> memory{mine, stream.view()};
        enqueue_sum(ledger, memory);
        ledger.wait();
        const std::int64_t want = processes.world * (processes.world + 1) / 2;
        expect_equal(memory.read(), std::vector<std::int64_t>(1000, want));
    }
    // The same, and nobody goes on before it is over for all.
    void sum_together(Ledger& ledger) {
        sum(ledger);
        EXPECT_EQ(store.barrier("summed", 60), std::nullopt);
    }
    void enqueue_sum(Ledger& ledger, const Guarded<std::int64_t>& memory) {
        ledger.enqueue({{.kind = CollectiveKind::all_reduce,
                         .group = &all,
                         .rank = Rank{processes.rank},
                         .dtype = DType::I64,
                         .send = memory.data(),
                         .receive = memory.data(),
                         .counts = {1000},
                         .receive_counts = {},
                         .what = "sums"}});
    }

    Processes processes;
    Store store;
    Stream stream;
    std::vector<LocalRank> ranks;
    RankGroup all{.axis = "ep", .ranks = {}};
    std::unique_ptr<Transport> transport;
};

template <class Body>
DeviceStall stall_of(Body body) {
    try {
        body();
    } catch (const StallError& error) {
        return error.stall();
    }
    ADD_FAILURE() << "no stall";
    return {};
}

void play_well(Player& player) {
    Ledger ledger{*player.transport, player.ranks, kDeadline_s, nullptr};
    for (int i = 0; i < 5; ++i) player.sum(ledger);
    EXPECT_EQ(player.transport->trouble(), std::nullopt);
    EXPECT_EQ(player.store.barrier("end", 60), std::nullopt);
}

void play_killed(Player& player) {
    Ledger ledger{*player.transport, player.ranks, kDeadline_s, nullptr};
    player.sum_together(ledger);
    if (player.is_victim()) raise(SIGKILL);
    const auto begin = std::chrono::steady_clock::now();
    const DeviceStall stall = stall_of([&] { player.sum(ledger); });
    EXPECT_LT(seconds_since(begin), kDeadline_s);
    EXPECT_EQ(stall.kind, DeviceStall::Kind::peer_lost);
    EXPECT_THAT(stall.message, AllOf(HasSubstr("process 1 is gone"), HasSubstr("waits in all_reduce(I64, 8000 bytes")));
    // Process 0 keeps the store: it leaves last.
    const auto seen = [](std::int64_t rank) { return "seen/" + std::to_string(rank); };
    player.store.set(seen(player.processes.rank), {});
    for (std::int64_t r = 0; player.processes.rank == 0 && r < player.processes.world; ++r) {
        EXPECT_TRUE(r == kVictim || player.store.get(seen(r), 60).has_value());
    }
}

void play_skips(Player& player) {
    Ledger ledger{*player.transport, player.ranks, kDeadline_s, nullptr};
    player.sum_together(ledger);
    if (!player.is_victim()) {
        const auto begin = std::chrono::steady_clock::now();
        const DeviceStall stall = stall_of([&] { player.sum(ledger); });
        EXPECT_LT(seconds_since(begin), 2 * kDeadline_s + 3);
        // The first to give up may end the others before their own deadline.
        EXPECT_NE(stall.kind, DeviceStall::Kind::mismatch);
        EXPECT_THAT(stall.message, AllOf(HasSubstr(kSum), HasSubstr("for rank 1; rank 1 has not called it")));
        EXPECT_EQ(stall.waits.at(0).absent, std::vector<Rank>{Rank{kVictim}});
    }
    EXPECT_EQ(player.store.barrier("end", 60), std::nullopt);
}

void play_absent(Player& player) {
    if (!player.is_victim()) {
        const auto begin = std::chrono::steady_clock::now();
        const DeviceStall stall = stall_of([&] { player.transport->connect(player.all); });
        EXPECT_LT(seconds_since(begin), 2 * kDeadline_s + 3);
        EXPECT_NE(stall.kind, DeviceStall::Kind::mismatch);
        EXPECT_THAT(stall.message, AllOf(HasSubstr("waits in connect on ep [0,1"), HasSubstr("for rank 1")));
    }
    EXPECT_EQ(player.store.barrier("end", 60), std::nullopt);
}

void play_throws(Player& player) {
    bool throws = false;
    DeviceFaults faults;
    faults.on_call = [&](DeviceCall&) -> Participation {
        if (throws && player.is_victim()) throw std::runtime_error{"planted"};
        return Participation::joins;
    };
    Ledger ledger{*player.transport, player.ranks, kDeadline_s, &faults};
    player.sum_together(ledger);
    throws = true;
    if (player.is_victim()) {
        EXPECT_THAT([&] { player.sum(ledger); }, ThrowsMessage<std::runtime_error>("planted"));
    } else {
        const auto begin = std::chrono::steady_clock::now();
        const DeviceStall stall = stall_of([&] { player.sum(ledger); });
        EXPECT_LT(seconds_since(begin), kDeadline_s);
        EXPECT_EQ(stall.kind, DeviceStall::Kind::peer_lost);
        EXPECT_THAT(stall.message, AllOf(ContainsRegex("process(es)? [0-9, ]*1[0-9, ]* gave up"), HasSubstr(kSum)));
    }
    EXPECT_EQ(player.store.barrier("end", 60), std::nullopt);
}

// The victim's second call is altered. NCCL may let it hang, or end with wrong bytes: all find out all the same.
void play_other(Player& player, void (*alter)(DeviceCall& call), const char* victim_calls) {
    bool alters = false;
    DeviceFaults faults;
    faults.on_call = [&](DeviceCall& call) {
        if (alters && player.is_victim()) alter(call);
        return Participation::joins;
    };
    Ledger ledger{*player.transport, player.ranks, kDeadline_s, &faults};
    player.sum_together(ledger);
    alters = true;
    const Guarded<std::int64_t> memory{std::vector<std::int64_t>(1000, 1), player.stream.view()};
    const auto begin = std::chrono::steady_clock::now();
    const DeviceStall stall = stall_of([&] {
        player.enqueue_sum(ledger, memory);
        // Who comes to the end first is told at its next wait.
        while (seconds_since(begin) < 2 * kDeadline_s) {
            ledger.wait();
            std::this_thread::sleep_for(std::chrono::milliseconds{10});
        }
    });
    EXPECT_LT(seconds_since(begin), kDeadline_s);
    EXPECT_EQ(stall.kind, DeviceStall::Kind::mismatch);
    EXPECT_THAT(stall.message, AllOf(HasSubstr("mismatched collective: call 2 of the group differs"),
                                     HasSubstr(std::string{"rank 1 calls "} + victim_calls),
                                     HasSubstr("calls all_reduce(I64, 8000 bytes out, 8000 in) on ep [0,1")));
    EXPECT_EQ(player.store.barrier("end", 60), std::nullopt);
}
void play_other_kind(Player& player) {
    play_other(
        player, [](DeviceCall& call) { call.kind = CollectiveKind::broadcast; },
        "broadcast(I64, 0 bytes out, 8000 in)");
}
void play_other_count(Player& player) {
    play_other(player, [](DeviceCall& call) { call.counts = {500}; }, "all_reduce(I64, 4000 bytes out, 4000 in)");
}
// As many bytes: NCCL sums bits of whole numbers as if they were floats, and ends.
void play_other_dtype(Player& player) {
    play_other(
        player,
        [](DeviceCall& call) {
            call.dtype = DType::F32;
            call.counts = {2000};
        },
        "all_reduce(F32, 8000 bytes out, 8000 in)");
}

// The victim's stream stands still, though it called what the others did.
void play_held(Player& player) {
    Gate gate{60};
    Ledger ledger{*player.transport, player.ranks, kDeadline_s, nullptr};
    ledger.watch({.trouble = [] { return std::nullopt; }, .stop = [&] { gate.open(); }});
    player.sum_together(ledger);
    const Guarded<std::int64_t> memory{std::vector<std::int64_t>(1000, 1), player.stream.view()};
    if (player.is_victim()) gate.hold(player.stream.view());
    const auto begin = std::chrono::steady_clock::now();
    const DeviceStall stall = stall_of([&] {
        player.enqueue_sum(ledger, memory);
        ledger.wait();
    });
    EXPECT_LT(seconds_since(begin), 2 * kDeadline_s + 3);
    EXPECT_NE(stall.kind, DeviceStall::Kind::mismatch);
    EXPECT_THAT(stall.message, AllOf(HasSubstr(kSum), HasSubstr("with all its members")));
    EXPECT_EQ(player.store.barrier("end", 60), std::nullopt);
}

// The victim's host is busy with something else until the others have given up, then goes on.
void play_sleeps(Player& player) {
    Ledger ledger{*player.transport, player.ranks, kDeadline_s, nullptr};
    player.sum_together(ledger);
    if (player.is_victim()) std::this_thread::sleep_for(std::chrono::duration<double>(kDeadline_s + 3));
    const auto begin = std::chrono::steady_clock::now();
    const DeviceStall stall = stall_of([&] { player.sum(ledger); });
    EXPECT_LT(seconds_since(begin), player.is_victim() ? kDeadline_s : kDeadline_s + 3);
    EXPECT_NE(stall.kind, DeviceStall::Kind::mismatch);
    EXPECT_THAT(stall.message, HasSubstr(kSum));
    if (player.is_victim()) {
        EXPECT_THAT(stall.message, AllOf(HasSubstr("peer lost: process"), HasSubstr("gave up")));
    } else {
        EXPECT_THAT(stall.message, HasSubstr("for rank 1; rank 1 has not called it"));
    }
    EXPECT_EQ(player.store.barrier("end", 60), std::nullopt);
}

struct Role {
    std::string_view name;
    void (*play)(Player& player);
    bool victim_survives = true;
};
constexpr std::array kRoles{Role{"well", &play_well},
                            Role{"killed", &play_killed, false},
                            Role{"skips", &play_skips},
                            Role{"absent", &play_absent},
                            Role{"throws", &play_throws},
                            Role{"other_kind", &play_other_kind},
                            Role{"other_count", &play_other_count},
                            Role{"other_dtype", &play_other_dtype},
                            Role{"held", &play_held},
                            Role{"sleeps", &play_sleeps}};

const Role& role_named(std::string_view name) { return *std::ranges::find(kRoles, name, &Role::name); }

TEST(NcclProcessRole, Plays) {
    if (roles_test::wanted_role().empty()) GTEST_SKIP() << "played by NcclProcessesTest";
    Player player{find_processes()};
    role_named(roles_test::wanted_role()).play(player);
}

class NcclProcessesTest : public ::testing::TestWithParam<Launch> {};

TEST_P(NcclProcessesTest, EndAsTheyShould) {
    SHARDPROOF_NEEDS_GPU();
    try {
        (void)NcclLibrary::get();
    } catch (const EnvironmentError& error) {
        GTEST_SKIP() << error.what();
    }
    const std::vector<int> statuses = roles_test::statuses_of(GetParam(), "NcclProcessRole.Plays");
    for (std::size_t rank = 0; rank < statuses.size(); ++rank) {
        const bool killed = rank == kVictim && !role_named(GetParam().role).victim_survives;
        EXPECT_EQ(statuses[rank], killed ? SIGKILL : 0) << "rank " << rank;
    }
}

std::vector<Launch> launches() {
    std::vector<Launch> all;
    for (const Role& role : kRoles) {
        for (const std::int64_t world : {2, 4}) all.push_back({.role = role.name, .world = world});
    }
    return all;
}
INSTANTIATE_TEST_SUITE_P(All, NcclProcessesTest, testing::ValuesIn(launches()), roles_test::name_of_launch);

}  // namespace
}  // namespace shardproof::gpu
