// Store: a few keys and values shared by the processes of a run over TCP, kept by process 0. For unique ids, results
// and obituaries; not for speed.
#pragma once
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gpu/transport/processes.hpp"

namespace shardproof::gpu {

class Store {
public:
    // Process 0 listens and serves in a thread of its own; the others connect, trying until the deadline. Throws
    // EnvironmentError naming host and port.
    Store(const Processes& processes, double deadline_s);
    ~Store();
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;

    void set(std::string_view key, std::span<const std::byte> value);
    // Waits for the key until the deadline: nullopt when it did not come. A store that went away is an
    // EnvironmentError.
    [[nodiscard]] std::optional<std::vector<std::byte>> get(std::string_view key, double deadline_s);
    // What is there now.
    [[nodiscard]] std::optional<std::vector<std::byte>> peek(std::string_view key);
    // Processes whose connection closed without a farewell.
    [[nodiscard]] std::vector<std::int64_t> lost();
    // Tells the others that this process ends the run early; they may see it before what that does to them. Never
    // throws.
    void quit() noexcept;
    // Processes that said so.
    [[nodiscard]] std::vector<std::int64_t> quitters();
    // Returns when all processes came; nullopt, or those that did not by the deadline. Before it where some are gone
    // without having come: those.
    [[nodiscard]] std::optional<std::vector<std::int64_t>> barrier(std::string_view name, double deadline_s);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace shardproof::gpu
