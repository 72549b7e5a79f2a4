#include "gpu/transport/store_book.hpp"

#include <algorithm>
#include <iterator>

namespace shardproof::gpu {
namespace {

template <class Processes>
FrameWriter& put_processes(FrameWriter& reply, const Processes& processes) {
    reply.number(processes.size());
    for (const std::int64_t process : processes) reply.number(static_cast<std::uint64_t>(process));
    return reply;
}

FrameWriter barrier_reply(const std::vector<std::int64_t>& missing) {
    FrameWriter reply{missing.empty() ? StoreReply::ok : StoreReply::absent};
    return put_processes(reply, missing);
}

StoreClock::time_point after_milliseconds(std::uint64_t milliseconds) {
    return after_seconds(static_cast<double>(milliseconds) / 1000);
}

}  // namespace

void StoreBook::handle(std::int64_t process, StoreOp op, FrameReader request) {
    switch (op) {
        case StoreOp::set: {
            std::string key = request.text();
            set(std::move(key), request.bytes());
            return answer_(process, FrameWriter{StoreReply::ok});
        }
        case StoreOp::get:
            return get(process, request);
        case StoreOp::peek: {
            const auto found = values_.find(request.text());
            if (found == values_.end()) return answer_(process, FrameWriter{StoreReply::absent});
            return answer_(process, FrameWriter{StoreReply::ok}.bytes(found->second));
        }
        case StoreOp::remove:
            values_.erase(request.text());
            return answer_(process, FrameWriter{StoreReply::ok});
        case StoreOp::news:
            return tell_news(process, request);
        case StoreOp::quit:
            quitters_.insert(process);
            return answer_(process, FrameWriter{StoreReply::ok});
        case StoreOp::barrier: {
            std::string name = request.text();
            arrived_[name].insert(process);
            waiting_.push_back({process, {}, std::move(name), after_milliseconds(request.number())});
            return;
        }
        case StoreOp::hello:
        case StoreOp::bye:
            break;
    }
    throw WireError{"an unknown request"};
}

void StoreBook::leave(std::int64_t process) {
    if (departed_.insert(process).second) lost_.insert(process);
    // An arrival stays: who comes later must not miss one that was there.
    std::erase_if(waiting_, [&](const Waiting& w) { return w.process == process; });
}

template <class Which>
void StoreBook::end_waits(const FrameWriter& reply, Which which) {
    for (auto w = waiting_.begin(); w != waiting_.end();) {
        if (which(*w)) {
            answer_(w->process, reply);
            w = waiting_.erase(w);
        } else {
            ++w;
        }
    }
}

void StoreBook::set(std::string key, std::span<const std::byte> value) {
    std::vector<std::byte>& kept = values_[key];
    kept.assign(value.begin(), value.end());
    end_waits(FrameWriter{StoreReply::ok}.bytes(kept),
              [&](const Waiting& w) { return w.barrier.empty() && w.key == key; });
}

void StoreBook::get(std::int64_t process, FrameReader& request) {
    std::string key = request.text();
    const auto found = values_.find(key);
    if (found != values_.end()) return answer_(process, FrameWriter{StoreReply::ok}.bytes(found->second));
    waiting_.push_back({process, std::move(key), {}, after_milliseconds(request.number())});
}

const std::pair<const std::int64_t, std::deque<StoreBook::Claimed>>* StoreBook::claim(std::int64_t process,
                                                                                      const std::string& key,
                                                                                      Claimed claimed) {
    constexpr std::size_t kKept = 16;  // no process runs ahead of another by more
    auto& of_key = claims_[key];
    std::deque<Claimed>& mine = of_key[process];
    if (!mine.empty() && mine.back().number == claimed.number) mine.pop_back();
    mine.push_back(std::move(claimed));
    if (mine.size() > kKept) mine.pop_front();
    const Claimed& last = mine.back();
    for (const auto& other : of_key) {
        const auto contradicts = [&](const Claimed& c) { return c.number == last.number && c.hash != last.hash; };
        if (other.first != process && std::ranges::any_of(other.second, contradicts)) return &other;
    }
    return nullptr;
}

void StoreBook::tell_news(std::int64_t process, FrameReader& request) {
    FrameWriter reply{StoreReply::ok};
    for (const auto* processes : {&lost_, &quitters_, &left_}) put_processes(reply, *processes);
    const std::uint64_t num_claims = request.number();
    bool told = false;
    for (std::uint64_t i = 0; i < num_claims; ++i) {
        const std::string key = request.text();
        Claimed claimed{.number = request.number(), .hash = request.number(), .text = request.text()};
        const std::uint64_t number = claimed.number;
        const auto* other = claim(process, key, std::move(claimed));
        if (other == nullptr || told) continue;
        told = true;
        const auto theirs = std::ranges::find(other->second, number, &Claimed::number);
        reply.number(1).number(i).number(static_cast<std::uint64_t>(other->first)).text(theirs->text);
    }
    if (!told) reply.number(0);
    answer_(process, reply);
}

std::vector<std::int64_t> StoreBook::missing_at(const std::string& barrier) const {
    const std::set<std::int64_t>& came = arrived_.at(barrier);
    std::vector<std::int64_t> missing;
    for (std::int64_t process = 0; process < world_; ++process) {
        if (!came.contains(process)) missing.push_back(process);
    }
    return missing;
}

// Ends the barriers that are complete, and those that cannot be any more: those name who is gone.
void StoreBook::settle_barriers() {
    for (auto barrier = arrived_.begin(); barrier != arrived_.end();) {
        const std::vector<std::int64_t> missing = missing_at(barrier->first);
        std::vector<std::int64_t> gone;
        std::ranges::copy_if(missing, std::back_inserter(gone), [&](std::int64_t p) { return departed_.contains(p); });
        if (missing.empty() || !gone.empty()) {
            const FrameWriter reply = barrier_reply(gone);
            end_waits(reply, [&](const Waiting& w) { return w.barrier == barrier->first; });
        }
        barrier = missing.empty() ? arrived_.erase(barrier) : std::next(barrier);
    }
}

// Who gives up at a barrier has come to it all the same: the next to give up does not miss it.
void StoreBook::settle_deadlines() {
    const auto now = StoreClock::now();
    for (auto w = waiting_.begin(); w != waiting_.end();) {
        if (w->deadline > now) {
            ++w;
            continue;
        }
        answer_(w->process,
                w->barrier.empty() ? FrameWriter{StoreReply::absent} : barrier_reply(missing_at(w->barrier)));
        w = waiting_.erase(w);
    }
}

void StoreBook::settle() {
    settle_barriers();
    settle_deadlines();
}

StoreClock::time_point StoreBook::earliest_deadline(StoreClock::time_point latest) const {
    for (const Waiting& w : waiting_) latest = std::min(latest, w.deadline);
    return latest;
}

}  // namespace shardproof::gpu
