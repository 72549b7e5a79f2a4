// Transport: moves bytes between ranks. A row in a table; every row runs the same calls.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gpu/stream.hpp"
#include "gpu/transport/collective.hpp"
#include "gpu/transport/standing.hpp"

namespace shardproof::gpu {

// A rank that this process runs.
struct LocalRank {
    Rank rank;
    int device = 0;
    StreamView stream;
};

// What went wrong behind the caller's back.
struct Trouble {
    enum class Kind : std::uint8_t { peer_lost, mismatch };
    Kind kind = Kind::peer_lost;
    std::string text = {};  // one line
};

class Transport {
public:
    virtual ~Transport() = default;
    [[nodiscard]] virtual std::string_view name() const = 0;
    // "NCCL 2.32.3 (libnccl.so.2), 8 ranks on 1 GPU": for reports and records.
    [[nodiscard]] virtual std::string describe() const = 0;

    // Makes what a group needs before its first call (communicators, cached by rank list), so that no later call pays
    // for it. Every process that has members of the group calls this, in the same order of groups. Waits at most until
    // the deadline given at creation; throws StallError.
    virtual void connect(const RankGroup& group) = 0;

    // Enqueues calls on their ranks' streams: one for each local rank that takes part, of one or several groups.
    // Returns before they are done. The caller has seen that the calls of one group agree, and aborts after what is
    // thrown: StallError, or errors of the device or of the transport's own.
    virtual void enqueue(std::span<const DeviceCall> calls) = 0;

    // A peer died or gave up, the network failed, or another process called something else of a group; or nullopt.
    // Asking other processes is dear: `now_and_then` does it 50 times a second at most. Never waits for peers.
    enum class Look : std::uint8_t { now_and_then, now };
    [[nodiscard]] std::optional<Trouble> trouble(Look look = Look::now_and_then) { return find_trouble(look); }
    // For who gives up, before or after abort(): tells the other processes so, and where this one's ranks stand;
    // returns where theirs do, as far as they say so within `wait_s` seconds. nullopt where there are no others, or
    // they cannot be asked. Who waits in its own process notices within 20 ms and answers in the same way.
    [[nodiscard]] virtual std::optional<std::vector<Standing>> last_words(std::span<const Standing> /*mine*/,
                                                                          double /*wait_s*/) noexcept {
        return std::nullopt;
    }
    // Ends every call in flight, on this process's ranks; the transport is of no use afterwards. Never waits for peers.
    virtual void abort() noexcept = 0;

protected:
    [[nodiscard]] virtual std::optional<Trouble> find_trouble(Look look) = 0;
};

// The processes of a run, as the launcher's environment tells: see processes.hpp.
struct Processes;
class Store;

struct TransportOptions {
    std::vector<LocalRank> local_ranks;  // this process's, ascending by rank
    std::int64_t world = 1;
    double deadline_s = 60;
    Store* store = nullptr;  // where unique ids are exchanged; nullptr: all ranks are local
};

struct TransportRow {
    std::string_view name;  // "nccl", "loopback"
    std::string_view says;
    // Throws EnvironmentError for what the machine lacks, InputError for ranks that this row cannot run.
    std::unique_ptr<Transport> (*make)(const TransportOptions& options);
};
[[nodiscard]] std::span<const TransportRow> transports();
[[nodiscard]] const TransportRow& transport_named(std::string_view name);  // throws InputError listing the names

}  // namespace shardproof::gpu
