// StoreBook: what the store holds and who waits for what; knows processes and requests, but no sockets.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "gpu/transport/store_wire.hpp"

namespace shardproof::gpu {

class StoreBook {
public:
    // Is given each answer, at once or later; must not call back.
    using Answer = std::function<void(std::int64_t process, const FrameWriter& reply)>;
    StoreBook(std::int64_t world, Answer answer) : world_{world}, answer_{std::move(answer)} {}

    // A request of a process, its op read off. Throws WireError for what is none.
    void handle(std::int64_t process, StoreOp op, FrameReader request);
    // Its connection closed; after a farewell it is not lost.
    void farewell(std::int64_t process) {
        left_.insert(process);
        departed_.insert(process);
    }
    void leave(std::int64_t process);
    // Processes that are lost or have left.
    [[nodiscard]] std::int64_t num_departed() const { return static_cast<std::int64_t>(departed_.size()); }
    // Ends the waits that have come to their end: to be called after requests, and at earliest_deadline().
    void settle();
    [[nodiscard]] StoreClock::time_point earliest_deadline(StoreClock::time_point latest) const;

private:
    // A process waits for one thing at a time: a key, or the end of a barrier.
    struct Waiting {
        std::int64_t process = 0;
        std::string key;  // empty: a barrier
        std::string barrier;
        StoreClock::time_point deadline;
    };
    struct Claimed {
        std::uint64_t number = 0;
        std::uint64_t hash = 0;
        std::string text;
    };
    template <class Which>
    void end_waits(const FrameWriter& reply, Which which);
    void set(std::string key, std::span<const std::byte> value);
    void get(std::int64_t process, FrameReader& request);
    void tell_news(std::int64_t process, FrameReader& request);
    // Who claimed otherwise; nullptr: nobody so far.
    const std::pair<const std::int64_t, std::deque<Claimed>>* claim(std::int64_t process, const std::string& key,
                                                                    Claimed claimed);
    void settle_barriers();
    void settle_deadlines();
    [[nodiscard]] std::vector<std::int64_t> missing_at(const std::string& barrier) const;

    std::int64_t world_;
    Answer answer_;
    std::list<Waiting> waiting_;
    std::map<std::string, std::vector<std::byte>> values_;
    std::map<std::string, std::set<std::int64_t>> arrived_;  // at each barrier
    std::map<std::string, std::map<std::int64_t, std::deque<Claimed>>>
        claims_;  // of each key and process, oldest first
    std::set<std::int64_t> lost_;
    std::set<std::int64_t> quitters_;
    std::set<std::int64_t> left_;
    std::set<std::int64_t> departed_;  // lost or left
};

}  // namespace shardproof::gpu
