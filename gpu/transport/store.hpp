// Store: a few keys and values shared by the processes of a run over TCP, kept by process 0. For unique ids, results
// and obituaries; not for speed.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gpu/transport/processes.hpp"

namespace shardproof::gpu {

// What a process says it has called of something that all must call alike.
struct StoreClaim {
    std::string key;          // of what: the same in every process
    std::int64_t number = 0;  // calls so far
    std::uint64_t hash = 0;   // of all of them: processes with equal numbers must have equal hashes
    std::string text;         // the last one, for reports; may differ
};
struct StoreNews {
    std::vector<std::int64_t> lost;      // processes whose connection closed without a farewell
    std::vector<std::int64_t> quitters;  // processes that said so: quit()
    std::vector<std::int64_t> left;      // processes that came to an orderly end
    struct Conflict {
        std::size_t claim_idx = 0;  // of the claims that were given
        std::int64_t process = 0;   // who claimed otherwise
        std::string text;           // and what
        bool operator==(const Conflict&) const = default;
    };
    std::optional<Conflict> conflict;  // the first
};

class Store {
public:
    // Process 0 listens and serves in a thread of its own; the others connect, trying until the deadline. Throws
    // EnvironmentError naming host and port. Who is of another run is refused: Processes::run.
    Store(const Processes& processes, double deadline_s);
    // An orderly end, or quit() where an exception that is thrown since the store was made is on its way. Process 0
    // waits until the others have come and left or are lost, for the deadline or 10 s at most: they may not have read
    // all.
    ~Store();
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;

    void set(std::string_view key, std::span<const std::byte> value);
    // Waits for the key until the deadline: nullopt when it did not come. A store that went away is an
    // EnvironmentError.
    [[nodiscard]] std::optional<std::vector<std::byte>> get(std::string_view key, double deadline_s);
    // All of them, with one deadline for all; nullopt for each that did not come.
    [[nodiscard]] std::vector<std::optional<std::vector<std::byte>>> get_all(const std::vector<std::string>& keys,
                                                                             double deadline_s);
    // What is there now.
    [[nodiscard]] std::optional<std::vector<std::byte>> peek(std::string_view key);
    // Of no effect where there is none.
    void remove(std::string_view key);
    // In one round trip: what became of the others, and whether one of them claims otherwise. A process learns of what
    // another claims later only when it asks again. The last 16 claims of each process are kept.
    [[nodiscard]] StoreNews news(std::span<const StoreClaim> claims = {});
    // Tells the others that this process ends the run early; they may see it before what that does to them. Never
    // throws.
    void quit() noexcept;
    // Returns when all processes came; nullopt, or those that did not by the deadline. Before it where some are gone
    // without having come: those.
    [[nodiscard]] std::optional<std::vector<std::int64_t>> barrier(std::string_view name, double deadline_s);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace shardproof::gpu
