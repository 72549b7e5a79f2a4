// For tests of what goes through a store: a port, processes of one run, and real ones that are forked.
#pragma once
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <functional>
#include <span>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "gpu/transport/processes.hpp"

namespace shardproof::gpu::store_test {

using Bytes = std::vector<std::byte>;

inline Bytes bytes_of(std::string_view text) {
    const auto bytes = std::as_bytes(std::span{text});
    return {bytes.begin(), bytes.end()};
}

// A port that was free a moment ago.
inline std::uint16_t free_port() {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) throw std::runtime_error("no socket");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(fd, raw, length), 0);
    EXPECT_EQ(getsockname(fd, raw, &length), 0);
    close(fd);
    return ntohs(address.sin_port);
}

inline Processes process(std::int64_t rank, std::int64_t world, std::uint16_t port) {
    Processes processes;
    processes.launcher = "torchrun";
    processes.rank = processes.local_rank = rank;
    processes.world = processes.local_world = world;
    processes.store_host = "127.0.0.1";
    processes.store_port = port;
    return processes;
}

inline double seconds_since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// A process of its own that runs `body`, which says whether all was well.
class Child {
public:
    explicit Child(const std::function<bool()>& body) : pid_{fork()} {
        if (pid_ != 0) return;
        bool well = false;
        try {
            well = body();
        } catch (const std::exception& error) {
            std::fprintf(stderr, "child: %s\n", error.what());
        }
        _exit(well ? 0 : 1);
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child() {
        if (pid_ > 0) kill_now();
    }
    void kill_now() {
        kill(pid_, SIGKILL);
        (void)wait_status();
    }
    [[nodiscard]] bool ended_well() { return wait_status() == 0; }

private:
    int wait_status() {
        int status = -1;
        waitpid(pid_, &status, 0);
        pid_ = -1;
        return status;
    }
    pid_t pid_;
};

}  // namespace shardproof::gpu::store_test
