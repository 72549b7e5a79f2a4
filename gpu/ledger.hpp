// Ledger: what each local rank has asked of its peers and how far its stream came. Every wait of the host goes through
// it, has a deadline, and ends in a report instead of a hang. To learn where the ranks of other processes stand, the
// report waits for their words: a quarter of the deadline at most, and a second at most.
#pragma once
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "gpu/stall.hpp"
#include "gpu/transport/transport.hpp"

namespace shardproof::gpu {

// What goes wrong, for tests: a hook sees each call before it is enqueued.
enum class Participation : std::uint8_t { joins, skips };
struct DeviceFaults {
    std::function<Participation(DeviceCall&)> on_call;  // may alter it, skip it or throw
};

// Whether a stream has come past a place; never waits.
using Mark = std::function<bool()>;
// Marks where a local rank's stream is now.
using Marker = std::function<Mark(const LocalRank&)>;
[[nodiscard]] Marker event_marker();  // by CUDA events

class Ledger {
public:
    // All outlive the ledger. Another marker than that of events lets it be tested where there is no device.
    Ledger(Transport& transport, std::span<const LocalRank> ranks, double deadline_s, const DeviceFaults* faults,
           Marker marker = event_marker());

    // Enqueues one collective for those local ranks that take part: all that the process has of a group at once. Calls
    // of one group that disagree abort the transport and throw StallError (mismatch); so does a transport that cannot
    // enqueue by the deadline. A fault may take calls out; what a hook throws passes on after an abort.
    void enqueue(std::vector<DeviceCall> calls);
    // Waits until the streams of all local ranks are done with what they were given. Throws StallError after aborting
    // the transport: deadline passed, or the transport is in trouble. Throws CudaError.
    void wait();
    [[nodiscard]] std::int64_t num_waits() const { return num_waits_; }  // host synchronisations so far
    [[nodiscard]] double deadline_s() const { return deadline_s_; }

    // Kernels that wait for peers beside the transport: wait() asks them for trouble whenever it asks the transport,
    // and once more when all streams are done (such kernels leave rather than hang); before the transport is aborted
    // they are told to stop.
    struct Watcher {
        std::function<std::optional<std::string>()> trouble;  // never waits
        std::function<void()> stop;  // returns soon; never throws
    };
    void watch(Watcher watcher) { watchers_.push_back(std::move(watcher)); }

private:
    struct Entry {
        DeviceCall call;  // counts and words for the report; its pointers are not read again
        std::int64_t batch = 0;  // number of the enqueue() that brought it
        std::int64_t number = 0;  // Standing's
        std::vector<Rank> absent;  // members of this process that did not come with it
        Mark done;  // empty until it is on its stream
        [[nodiscard]] bool reached() const;
    };
    [[nodiscard]] std::vector<DeviceCall> joining(std::vector<DeviceCall> calls);
    void require_agreement(std::span<const DeviceCall> calls);
    void enter(const DeviceCall& call, std::span<const DeviceCall> with, std::int64_t batch);
    [[nodiscard]] std::optional<Trouble> trouble(Transport::Look look) const;  // of the transport, or of who watches
    void abort() const noexcept;
    void poll_until(const Mark& done, std::chrono::steady_clock::time_point deadline);
    [[nodiscard]] const Entry* first_unfinished(Rank rank) const;  // nullptr: none, or another process's rank
    [[nodiscard]] StallScene scene() const;
    [[nodiscard]] bool is_local(Rank rank) const { return local_idx(rank) < ranks_.size(); }
    [[nodiscard]] std::size_t local_idx(Rank rank) const;  // ranks_.size() for another process's
    [[noreturn]] void give_up(DeviceStall::Kind kind, const std::string& reason);

    Transport& transport_;
    std::span<const LocalRank> ranks_;
    double deadline_s_;
    const DeviceFaults* faults_;
    Marker marker_;
    std::vector<Watcher> watchers_;
    std::vector<std::deque<Entry>> entries_;  // of each local rank, oldest first; the reached ones are dropped
    std::map<std::pair<Rank, std::vector<Rank>>, std::int64_t> num_calls_;  // of local ranks in groups with others
    std::int64_t num_batches_ = 0;
    bool cut_short_ = false;  // streams are done, but a rank's last call is not to be trusted
    std::int64_t num_waits_ = 0;
};

}  // namespace shardproof::gpu
