#include "gpu/ledger.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "gpu/patience.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

std::string ranks_text(const std::vector<Rank>& ranks) {
    std::string text;
    for (std::size_t i = 0; i < std::min<std::size_t>(ranks.size(), 8); ++i)
        text += fmt::format("{}{}", i == 0 ? "" : ", ", ranks[i].value());
    return ranks.size() > 8 ? text + fmt::format(" and {} more", ranks.size() - 8) : text;
}

std::string named(const std::vector<Rank>& ranks) {
    return fmt::format("rank{} {}", ranks.size() == 1 ? "" : "s", ranks_text(ranks));
}

bool same_group(const DeviceCall& a, const DeviceCall& b) { return a.group->ranks == b.group->ranks; }

}  // namespace

StallError::StallError(DeviceStall stall) : std::runtime_error{stall.message}, stall_{std::move(stall)} {}

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

void Ledger::enqueue(std::vector<DeviceCall> asked) {
    constexpr std::size_t kLooked = 64;  // entries that may wait to be looked at
    for (auto& entries : entries_) {
        while (entries.size() >= kLooked && entries.front().reached()) entries.pop_front();
    }
    const std::vector<DeviceCall> calls = joining(std::move(asked));
    const std::int64_t batch = num_batches_++;
    for (const DeviceCall& call : calls) {
        const std::size_t local = local_idx(call.rank);
        SP_ASSERT(local < ranks_.size());
        Entry entry{.call = call, .batch = batch, .absent = {}, .done = {}};
        for (const Rank member : call.group->ranks) {
            const auto comes = [&](const DeviceCall& other) { return other.rank == member && same_group(call, other); };
            if (local_idx(member) < ranks_.size() && std::ranges::none_of(calls, comes)) entry.absent.push_back(member);
        }
        entries_[local].push_back(std::move(entry));
    }
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

std::optional<std::string> Ledger::trouble(Transport::Look look) const {
    if (auto found = transport_.trouble(look)) return found;
    for (const Watcher& watcher : watchers_) {
        if (auto found = watcher.trouble()) return found;
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
        if (const auto found = trouble(Transport::Look::now_and_then)) give_up(DeviceStall::Kind::peer_lost, *found);
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
        give_up(DeviceStall::Kind::peer_lost, *found);
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

std::vector<DeviceStall::Wait> Ledger::waits() const {
    std::vector<DeviceStall::Wait> waits;
    for (const LocalRank& rank : ranks_) {
        const Entry* entry = first_unfinished(rank.rank);
        if (entry == nullptr) continue;
        DeviceStall::Wait wait{.rank = rank.rank, .call = to_string(entry->call), .absent = entry->absent};
        for (const Rank member : entry->call.group->ranks) {
            // Its stream stands before an earlier call.
            const Entry* other = first_unfinished(member);
            if (other != nullptr && other->batch < entry->batch) wait.absent.push_back(member);
        }
        std::ranges::sort(wait.absent);
        const auto repeated = std::ranges::unique(wait.absent);
        wait.absent.erase(repeated.begin(), repeated.end());
        waits.push_back(std::move(wait));
    }
    std::ranges::sort(waits, {}, &DeviceStall::Wait::rank);
    return waits;
}

std::string Ledger::describe(const std::vector<DeviceStall::Wait>& waits) const {
    if (waits.empty()) return "no rank waits in a collective: the kernels after them are not done";
    const auto knows = [](const DeviceStall::Wait& wait) { return !wait.absent.empty(); };
    const auto telling = std::ranges::find_if(waits, knows);
    const DeviceStall::Wait& first = telling == waits.end() ? waits.front() : *telling;
    const std::string text = fmt::format("rank {} waits in {}", first.rank.value(), first.call);
    if (!first.absent.empty()) {
        const Rank absent = first.absent.front();
        const auto its = std::ranges::find(waits, absent, &DeviceStall::Wait::rank);
        const std::string does = its == waits.end() ? "has not called it" : "waits in " + its->call;
        return text + fmt::format(" for {}; rank {} {}", named(first.absent), absent.value(), does);
    }
    std::vector<Rank> elsewhere;
    for (const Rank member : first_unfinished(first.rank)->call.group->ranks) {
        if (local_idx(member) == ranks_.size()) elsewhere.push_back(member);
    }
    return elsewhere.empty() ? text + " with all its members"
                             : text + fmt::format(" with {} of other processes", named(elsewhere));
}

void Ledger::give_up(DeviceStall::Kind kind, const std::string& reason) {
    DeviceStall stall{.kind = kind, .waits = waits(), .message = {}};
    switch (kind) {
        case DeviceStall::Kind::mismatch:
            stall.message = "mismatched collective: " + reason;
            break;
        case DeviceStall::Kind::deadline:
            stall.message = fmt::format("deadline of {:g} s passed: {}", deadline_s_, describe(stall.waits));
            break;
        case DeviceStall::Kind::peer_lost:
            stall.message = fmt::format("peer lost: {}: {}", reason, describe(stall.waits));
            break;
    }
    abort();
    for (auto& entries : entries_) entries.clear();
    throw StallError{std::move(stall)};
}

}  // namespace shardproof::gpu
