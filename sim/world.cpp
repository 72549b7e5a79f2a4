#include "sim/world.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "oracle/model/error.hpp"
#include "sim/plan/rank_names.hpp"

namespace shardproof::sim {

namespace {

TraceEvent event_of(std::span<const CollectiveCall* const> calls, std::span<const Rank> members) {
    const CollectiveCall& first = *calls[0];
    TraceEvent event{.kind = first.kind,
                     .group = first.group == nullptr ? std::string_view{} : first.group->name(),
                     .ranks = {members.begin(), members.end()},
                     .dtype = first.dtype,
                     .what = first.what,
                     .sent_by = {},
                     .received_by = {}};
    // Storage may be wider than what travels.
    const auto travelling = [](const CollectiveCall& call, std::int64_t bytes) {
        if (call.element_bytes == 0) return std::int64_t{0};
        return bytes / static_cast<std::int64_t>(call.element_bytes) * bits_of(call.dtype) / 8;
    };
    for (const CollectiveCall* call : calls) {
        event.sent_by.push_back(travelling(*call, call->send_bytes()));
        event.received_by.push_back(travelling(*call, call->receive_bytes()));
        event.bytes_sent += event.sent_by.back();
    }
    return event;
}

}  // namespace

bool RankContext::Awaiter::await_ready() {
    return world->faults_ != nullptr && world->faults_->on_call &&
           world->faults_->on_call(rank, call) == Participation::skips;
}

void RankContext::Awaiter::await_suspend(std::coroutine_handle<> program) { world->arrive(rank, call, program); }

World::World(std::int64_t num_ranks, std::uint64_t seed) : ranks_(static_cast<std::size_t>(num_ranks)), prng_{seed} {
    SP_ASSERT(num_ranks >= 1);
}

std::optional<Stall> World::run(const Program& program) {
    std::vector<RankContext> contexts;
    std::vector<Task<void>> tasks;
    contexts.reserve(ranks_.size());
    tasks.reserve(ranks_.size());
    stall_.reset();
    waiting_.clear();
    ready_.clear();
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
        contexts.emplace_back(*this, Rank{static_cast<std::int64_t>(r)});
        tasks.push_back(program(contexts.back()));
        ranks_[r] = RankState{.program = tasks.back().handle(), .pending = nullptr};
        ready_.emplace_back(static_cast<std::int64_t>(r));
    }
    std::size_t ended = 0;
    while (!ready_.empty()) {
        const std::size_t pick = prng_.below(ready_.size());
        const Rank rank = ready_[pick];
        ready_[pick] = ready_.back();
        ready_.pop_back();
        ranks_[rank.idx()].program.resume();
        if (stall_) return stall_;
        const Task<void>& task = tasks[rank.idx()];
        if (!task.done()) continue;
        if (task.error()) std::rethrow_exception(task.error());
        ++ended;
    }
    if (ended == ranks_.size()) return std::nullopt;
    return deadlock();
}

void World::arrive(Rank rank, const CollectiveCall& call, std::coroutine_handle<> program) {
    RankState& state = ranks_[rank.idx()];
    state.program = program;
    state.pending = &call;
    if (is_point_to_point(call.kind)) {
        try_point_to_point(rank);
    } else {
        try_group(rank);
    }
}

void World::try_point_to_point(Rank rank) {
    const CollectiveCall& mine = *ranks_[rank.idx()].pending;
    const CollectiveCall* theirs = ranks_[mine.peer.idx()].pending;
    if (theirs == nullptr || !is_point_to_point(theirs->kind) || theirs->peer != rank || theirs->kind == mine.kind)
        return;
    const std::array<const CollectiveCall*, 2> calls{&mine, theirs};
    const std::array<Rank, 2> members{rank, mine.peer};
    complete(calls, members);
}

void World::try_group(Rank rank) {
    // Counted as they come, so that a rank of a large group does not look at all the others.
    const Group& group = *ranks_[rank.idx()].pending->group;
    const auto waiting = waiting_.try_emplace(group.key(), std::size_t{0}).first;
    if (++waiting->second < group.size()) return;
    calls_.clear();
    for (const Rank member : group.ranks()) {
        const CollectiveCall* call = ranks_[member.idx()].pending;
        // Another list of ranks with the same key: these wait for each other, and the deadlock says so.
        if (call == nullptr || is_point_to_point(call->kind) || call->group->ranks() != group.ranks()) return;
        calls_.push_back(call);
    }
    waiting_.erase(waiting);
    complete(calls_, group.ranks());
}

void World::complete(std::span<const CollectiveCall* const> calls, std::span<const Rank> members) {
    if (auto line = disagreement(calls)) {
        stall_ = deadlock();
        stall_->kind = Stall::Kind::mismatch;
        stall_->message = "mismatched collective: " + *line;
        return;
    }
    perform(calls);
    if (trace_ != nullptr) {
        trace_->push_back(event_of(calls, members));
    }
    for (const Rank member : members) {
        ranks_[member.idx()].pending = nullptr;
        ready_.push_back(member);
    }
}

Stall World::deadlock() const {
    Stall stall{.kind = Stall::Kind::deadlock, .waits = {}, .message = {}};
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
        const CollectiveCall* call = ranks_[r].pending;
        if (call == nullptr) continue;
        Stall::Wait wait{.rank = Rank{static_cast<std::int64_t>(r)}, .call = to_string(*call), .absent = {}};
        if (is_point_to_point(call->kind)) {
            wait.absent.push_back(call->peer);
        } else {
            for (const Rank member : call->group->ranks()) {
                const CollectiveCall* other = ranks_[member.idx()].pending;
                const bool came = other != nullptr && !is_point_to_point(other->kind) &&
                                  other->group->ranks() == call->group->ranks();
                if (!came) wait.absent.push_back(member);
            }
        }
        stall.waits.push_back(std::move(wait));
    }
    if (!stall.waits.empty()) {
        const Stall::Wait& first = stall.waits.front();
        stall.message = fmt::format("deadlock: rank {} waits in {} for {}", first.rank.value(), first.call,
                                    named_ranks(first.absent));
        if (!first.absent.empty()) {
            const Rank absent = first.absent.front();
            const CollectiveCall* call = ranks_[absent.idx()].pending;
            stall.message += fmt::format("; rank {} {}", absent.value(),
                                         call == nullptr ? std::string{"has ended"} : "waits in " + to_string(*call));
        }
    }
    return stall;
}

}  // namespace shardproof::sim
