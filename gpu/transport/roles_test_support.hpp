// For tests of several processes: this program starts itself again, once a rank, as a launcher would, in a role.
#pragma once
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace shardproof::gpu::roles_test {

inline constexpr const char* kRole = "SHARDPROOF_TEST_ROLE";

// What this process is to play; empty: nothing, it is the one that starts the others.
inline std::string_view wanted_role() {
    const char* wanted = std::getenv(kRole);
    return wanted == nullptr ? "" : wanted;
}

struct Launch {
    std::string_view role;
    std::int64_t world = 1;
};
inline std::string name_of_launch(const testing::TestParamInfo<Launch>& info) {
    return std::string{info.param.role} + "_" + std::to_string(info.param.world);
}

// `plays` is the test that plays the role. -1 where it cannot be started.
inline pid_t start(const Launch& launch, const std::string& plays, std::int64_t rank, std::uint16_t port) {
    const std::string world = std::to_string(launch.world);
    std::vector<std::string> settings{std::string{kRole} + "=" + std::string{launch.role},
                                      "RANK=" + std::to_string(rank),
                                      "WORLD_SIZE=" + world,
                                      "LOCAL_RANK=" + std::to_string(rank),
                                      "LOCAL_WORLD_SIZE=" + world,
                                      "MASTER_ADDR=127.0.0.1",
                                      "MASTER_PORT=" + std::to_string(port)};
    std::vector<char*> environment;
    for (std::string& setting : settings) environment.push_back(setting.data());
    for (char** inherited = environ; *inherited != nullptr; ++inherited) {
        // Of a sharded or recorded run: one test is to run here, and to write nowhere.
        if (!std::string_view{*inherited}.starts_with("GTEST_")) environment.push_back(*inherited);
    }
    environment.push_back(nullptr);
    std::string program = "/proc/self/exe";
    std::string filter = "--gtest_filter=" + plays;
    std::array<char*, 3> arguments{program.data(), filter.data(), nullptr};
    pid_t pid = -1;
    EXPECT_EQ(posix_spawn(&pid, program.c_str(), nullptr, nullptr, arguments.data(), environment.data()), 0);
    return pid;
}

// Its status, or that of SIGALRM when it did not end in time and was killed.
inline int end_of(pid_t pid, std::chrono::steady_clock::time_point deadline) {
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

// The status of each process, by rank.
inline std::vector<int> statuses_of(const Launch& launch, const std::string& plays) {
    static int num_launches = 0;
    const auto port = static_cast<std::uint16_t>(20000 + (getpid() * 50 + num_launches++) % 10000);
    std::vector<pid_t> started;
    for (std::int64_t rank = 0; rank < launch.world; ++rank) started.push_back(start(launch, plays, rank, port));
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{150};
    std::vector<int> statuses;
    for (const pid_t pid : started) statuses.push_back(end_of(pid, deadline));
    return statuses;
}

}  // namespace shardproof::gpu::roles_test
