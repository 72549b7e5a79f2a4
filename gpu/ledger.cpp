#include "gpu/ledger.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "gpu/patience.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

bool same_group(const DeviceCall& a, const DeviceCall& b) { return a.group->ranks == b.group->ranks; }

}  // namespace

Marker event_marker() {
    return [](const LocalRank& rank) -> Mark {
        const DeviceScope scope{rank.device};
        auto event = std::make_shared<Event>();
        event->record(rank.stream);
        return [event = std::move(event)] { return event->reached(); };
    };
}

Ledger::Ledger(Transport& transport, std::span<const LocalRank> ranks, double deadline_s, const DeviceFaults* faults,
               Marker marker)
    : transport_{transport},
      ranks_{ranks},
      deadline_s_{deadline_s},
      faults_{faults},
      marker_{std::move(marker)},
      entries_(ranks.size()) {}

bool Ledger::Entry::reached() const {
    try {
        return done && done();
    } catch (const CudaError&) {
        return false;  // a broken stream has not come anywhere
    }
}

std::size_t Ledger::local_idx(Rank rank) const {
    return static_cast<std::size_t>(std::ranges::find(ranks_, rank, &LocalRank::rank) - ranks_.begin());
}

std::vector<DeviceCall> Ledger::joining(std::vector<DeviceCall> calls) {
    if (faults_ == nullptr || !faults_->on_call) return calls;
    std::vector<DeviceCall> joined;
    try {
        for (DeviceCall& call : calls) {
            if (faults_->on_call(call) == Participation::joins) joined.push_back(std::move(call));
        }
    } catch (...) {
        abort();
        throw;
    }
    return joined;
}

void Ledger::require_agreement(std::span<const DeviceCall> calls) {
    std::vector<const DeviceCall*> members;
    for (std::size_t i = 0; i < calls.size(); ++i) {
        const auto of_same_group = [&](const DeviceCall& call) { return same_group(call, calls[i]); };
        if (std::ranges::any_of(calls.first(i), of_same_group)) continue;  // looked at with the first of its group
        members.clear();
        for (const DeviceCall& call : calls.subspan(i)) {
            if (of_same_group(call)) members.push_back(&call);
        }
        if (const auto line = disagreement(members)) give_up(DeviceStall::Kind::mismatch, *line);
    }
}

void Ledger::enter(const DeviceCall& call, std::span<const DeviceCall> with, std::int64_t batch) {
    const std::size_t local = local_idx(call.rank);
    SP_ASSERT(local < ranks_.size());
    Entry entry{.call = call, .batch = batch, .number = 0, .absent = {}, .done = {}};
    bool has_others = false;
    for (const Rank member : call.group->ranks) {
        const auto comes = [&](const DeviceCall& other) { return other.rank == member && same_group(call, other); };
        if (!is_local(member))
            has_others = true;
        else if (std::ranges::none_of(with, comes))
            entry.absent.push_back(member);
    }
    if (has_others) entry.number = ++num_calls_[{call.rank, call.group->ranks}];
    entries_[local].push_back(std::move(entry));
}

void Ledger::enqueue(std::vector<DeviceCall> asked) {
    constexpr std::size_t kLooked = 64;  // entries that may wait to be looked at
    for (auto& entries : entries_) {
        while (entries.size() >= kLooked && entries.front().reached()) entries.pop_front();
    }
    const std::vector<DeviceCall> calls = joining(std::move(asked));
    const std::int64_t batch = num_batches_++;
    for (const DeviceCall& call : calls) enter(call, calls, batch);
    require_agreement(calls);
    try {
        transport_.enqueue(calls);
        for (const DeviceCall& call : calls) {
            const std::size_t local = local_idx(call.rank);
            entries_[local].back().done = marker_(ranks_[local]);
        }
    } catch (const StallError& error) {
        give_up(error.stall().kind, error.stall().message);
    } catch (...) {
        abort();
        throw;
    }
}

std::optional<Trouble> Ledger::trouble(Transport::Look look) const {
    if (auto found = transport_.trouble(look)) return found;
    for (const Watcher& watcher : watchers_) {
        if (auto found = watcher.trouble()) return Trouble{.text = *std::move(found)};
    }
    return std::nullopt;
}

void Ledger::abort() const noexcept {
    for (const Watcher& watcher : watchers_) watcher.stop();
    transport_.abort();
}

void Ledger::poll_until(const Mark& done, std::chrono::steady_clock::time_point deadline) {
    Patience patience;
    while (!done()) {
        if (!patience.pause()) continue;
        if (const auto found = trouble(Transport::Look::now_and_then)) give_up(stall_kind(found->kind), found->text);
        if (std::chrono::steady_clock::now() >= deadline) give_up(DeviceStall::Kind::deadline, "");
    }
}

void Ledger::wait() {
    ++num_waits_;
    const auto deadline = moment_in(deadline_s_);
    try {
        std::vector<Mark> ends;
        for (const LocalRank& rank : ranks_) ends.push_back(marker_(rank));
        for (const Mark& end : ends) poll_until(end, deadline);
    } catch (const CudaError&) {
        abort();
        throw;
    }
    // A collective that was cut short has come to its end too, with wrong bytes.
    if (const auto found = trouble(Transport::Look::now)) {
        cut_short_ = true;
        give_up(stall_kind(found->kind), found->text);
    }
    for (auto& entries : entries_) entries.clear();
}

const Ledger::Entry* Ledger::first_unfinished(Rank rank) const {
    const std::size_t local = local_idx(rank);
    if (local == ranks_.size()) return nullptr;
    const auto found = std::ranges::find_if(entries_[local], [](const Entry& entry) { return !entry.reached(); });
    if (found != entries_[local].end()) return &*found;
    return cut_short_ && !entries_[local].empty() ? &entries_[local].back() : nullptr;
}

StallScene Ledger::scene() const {
    StallScene scene;
    for (const LocalRank& rank : ranks_) {
        Standing& standing = scene.here.emplace_back();
        standing.rank = rank.rank;
        const Entry* entry = first_unfinished(rank.rank);
        if (entry == nullptr) continue;
        standing.call = to_string(entry->call);
        standing.group = entry->call.group->ranks;
        standing.number = entry->number;
        DeviceStall::Wait wait{.rank = rank.rank, .call = standing.call, .absent = entry->absent};
        for (const Rank member : standing.group) {
            // Its stream stands before an earlier call.
            const Entry* other = first_unfinished(member);
            if (other != nullptr && other->batch < entry->batch) wait.absent.push_back(member);
        }
        std::ranges::sort(wait.absent);
        const auto repeated = std::ranges::unique(wait.absent);
        wait.absent.erase(repeated.begin(), repeated.end());
        scene.waits.push_back(std::move(wait));
    }
    std::ranges::sort(scene.here, {}, &Standing::rank);
    std::ranges::sort(scene.waits, {}, &DeviceStall::Wait::rank);
    return scene;
}

void Ledger::give_up(DeviceStall::Kind kind, const std::string& reason) {
    // Before the others are asked: their answer may come with an abort that ends what waits here.
    StallScene scene = this->scene();
    scene.elsewhere = transport_.last_words(scene.here, std::min(1.0, deadline_s_ / 4));
    add_absent(scene);
    DeviceStall stall{.kind = kind, .waits = scene.waits, .message = {}};
    switch (kind) {
        case DeviceStall::Kind::mismatch:
            stall.message = fmt::format("{}: {}", prefix_of(kind), reason);
            break;
        case DeviceStall::Kind::deadline:
            stall.message = fmt::format("{}: {}", deadline_passed(deadline_s_), describe(scene));
            break;
        case DeviceStall::Kind::peer_lost:
            stall.message = fmt::format("{}: {}: {}", prefix_of(kind), reason, describe(scene));
            break;
    }
    abort();
    for (auto& entries : entries_) entries.clear();
    throw StallError{std::move(stall)};
}

}  // namespace shardproof::gpu
