// Peers: what a transport tells the other processes of the run through the store, and learns from them.
#pragma once
#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gpu/transport/call_history.hpp"
#include "gpu/transport/transport.hpp"

namespace shardproof::gpu {

class Peers {
public:
    // `prefix` begins all its keys and is the same in every process. `store` nullptr: there are no other processes, and
    // nothing here does or finds anything.
    Peers(Store* store, std::string prefix) : store_{store}, prefix_{std::move(prefix)}, history_{prefix_ + "calls/"} {}
    [[nodiscard]] Store* store() const { return store_; }
    [[nodiscard]] std::string key(std::string_view what) const { return prefix_ + std::string{what}; }

    // Calls that agree with each other, before they are enqueued together.
    void called(std::span<const DeviceCall> calls);
    // A process that is gone or gave up, or that called something else; one round trip. `now_and_then` asks every 20 ms
    // only. Where the store cannot be used, that is the trouble.
    [[nodiscard]] std::optional<Trouble> trouble(Transport::Look look);
    // Says that this process gives up.
    void quit() noexcept;
    // Also where its ranks stand; returns where `others` do, as far as they say so within `wait_s` seconds. nullopt
    // where that cannot be asked.
    [[nodiscard]] std::optional<std::vector<Standing>> last_words(std::span<const Standing> mine,
                                                                  std::span<const Rank> others, double wait_s) noexcept;

private:
    Store* store_;
    std::string prefix_;
    CallHistory history_;
    std::chrono::steady_clock::time_point asked_{};
    bool has_quit_ = false;
};

}  // namespace shardproof::gpu
