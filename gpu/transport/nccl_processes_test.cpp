// One process a rank on one GPU, as a launcher starts them: this program starts itself again, once a rank, in a role.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <numeric>
#include <thread>

#include "gpu/gpu_test_support.hpp"
#include "gpu/ledger.hpp"
#include "gpu/transport/nccl_library.hpp"
#include "gpu/transport/processes.hpp"
#include "gpu/transport/store.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kRole = "SHARDPROOF_TEST_ROLE";
constexpr double kDeadline_s = 5;
constexpr std::int64_t kVictim = 1;  // the rank that misbehaves

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
    // Sums 1, 2, ... over all ranks. Throws StallError.
    void sum(Ledger& ledger) {
        const std::vector<std::int64_t> mine(1000, processes.rank + 1);
        const Guarded<std::int64_t> memory{mine, stream.view()};
        ledger.enqueue({{.kind = CollectiveKind::all_reduce,
                         .group = &all,
                         .rank = Rank{processes.rank},
                         .dtype = DType::I64,
                         .send = memory.data(),
                         .receive = memory.data(),
                         .counts = {1000},
                         .receive_counts = {},
                         .what = "sums"}});
        ledger.wait();
        const std::int64_t want = processes.world * (processes.world + 1) / 2;
        expect_equal(memory.read(), std::vector<std::int64_t>(1000, want));
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
    player.sum(ledger);
    if (player.processes.rank == kVictim) raise(SIGKILL);
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
    player.sum(ledger);
    if (player.processes.rank != kVictim) {
        const auto begin = std::chrono::steady_clock::now();
        const DeviceStall stall = stall_of([&] { player.sum(ledger); });
        EXPECT_LT(seconds_since(begin), 2 * kDeadline_s + 3);
        // The first to give up may end the others before their own deadline.
        EXPECT_NE(stall.kind, DeviceStall::Kind::mismatch);
        EXPECT_THAT(stall.message, HasSubstr("waits in all_reduce(I64, 8000 bytes out, 8000 in) on ep"));
        EXPECT_THAT(stall.message, HasSubstr("of other processes"));
    }
    EXPECT_EQ(player.store.barrier("end", 60), std::nullopt);
}

void play_absent(Player& player) {
    if (player.processes.rank != kVictim) {
        const auto begin = std::chrono::steady_clock::now();
        const DeviceStall stall = stall_of([&] { player.transport->connect(player.all); });
        EXPECT_LT(seconds_since(begin), 2 * kDeadline_s + 3);
        EXPECT_NE(stall.kind, DeviceStall::Kind::mismatch);
        EXPECT_THAT(stall.message, AllOf(HasSubstr("waits in connect on ep [0,1"), HasSubstr("for rank 1")));
    }
    EXPECT_EQ(player.store.barrier("end", 60), std::nullopt);
}

struct Role {
    const char* name;
    void (*play)(Player& player);
    bool victim_survives;
};
constexpr std::array kRoles{Role{"well", &play_well, true}, Role{"killed", &play_killed, false},
                            Role{"skips", &play_skips, true}, Role{"absent", &play_absent, true}};

TEST(NcclProcessRole, Plays) {
    const char* wanted = std::getenv(kRole);
    if (wanted == nullptr) GTEST_SKIP() << "played by NcclProcessesTest";
    for (const Role& role : kRoles) {
        if (std::string_view{role.name} != wanted) continue;
        Player player{find_processes()};
        role.play(player);
    }
}

pid_t start(const Role& role, std::int64_t rank, std::int64_t world, std::uint16_t port) {
    std::vector<std::string> settings{std::string{kRole} + "=" + role.name,        "RANK=" + std::to_string(rank),
                                      "WORLD_SIZE=" + std::to_string(world),       "LOCAL_RANK=" + std::to_string(rank),
                                      "LOCAL_WORLD_SIZE=" + std::to_string(world), "MASTER_ADDR=127.0.0.1",
                                      "MASTER_PORT=" + std::to_string(port)};
    std::vector<char*> environment;
    for (std::string& setting : settings) environment.push_back(setting.data());
    for (char** inherited = environ; *inherited != nullptr; ++inherited) environment.push_back(*inherited);
    environment.push_back(nullptr);
    std::string program = "/proc/self/exe";
    std::string filter = "--gtest_filter=NcclProcessRole.Plays";
    std::array<char*, 3> arguments{program.data(), filter.data(), nullptr};
    pid_t pid = -1;
    EXPECT_EQ(posix_spawn(&pid, program.c_str(), nullptr, nullptr, arguments.data(), environment.data()), 0);
    return pid;
}

// Its status, or that of SIGALRM when it did not end in time and was killed.
int end_of(pid_t pid, std::chrono::steady_clock::time_point deadline) {
    int status = 0;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (std::chrono::steady_clock::now() >= deadline) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return SIGALRM;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds{20});
    }
    return status;
}

struct Launch {
    Role role;
    std::int64_t world;
};

class NcclProcessesTest : public ::testing::TestWithParam<Launch> {};

TEST_P(NcclProcessesTest, EndAsTheyShould) {
    SHARDPROOF_NEEDS_GPU();
    try {
        (void)NcclLibrary::get();
    } catch (const EnvironmentError& error) {
        GTEST_SKIP() << error.what();
    }
    const auto port = static_cast<std::uint16_t>(20000 + getpid() % 10000);
    std::vector<pid_t> started;
    for (std::int64_t rank = 0; rank < GetParam().world; ++rank)
        started.push_back(start(GetParam().role, rank, GetParam().world, port));
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{150};
    for (std::size_t rank = 0; rank < started.size(); ++rank) {
        const int status = end_of(started[rank], deadline);
        const bool killed = rank == kVictim && !GetParam().role.victim_survives;
        EXPECT_EQ(status, killed ? SIGKILL : 0) << "rank " << rank;
    }
}

std::vector<Launch> launches() {
    std::vector<Launch> all;
    for (const Role& role : kRoles) {
        for (const std::int64_t world : {2, 4}) all.push_back({.role = role, .world = world});
    }
    return all;
}
std::string name_of_launch(const testing::TestParamInfo<Launch>& info) {
    return std::string{info.param.role.name} + "_" + std::to_string(info.param.world);
}
INSTANTIATE_TEST_SUITE_P(All, NcclProcessesTest, testing::ValuesIn(launches()), name_of_launch);

}  // namespace
}  // namespace shardproof::gpu
