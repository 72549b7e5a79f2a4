#include "gpu/transport/nccl_communicators.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "gpu/patience.hpp"
#include "gpu/stall.hpp"
#include "gpu/transport/nccl_group.hpp"
#include "gpu/transport/store.hpp"
#include "sim/plan/rank_names.hpp"

namespace shardproof::gpu {
namespace {

[[noreturn]] void stall(DeviceStall::Kind kind, std::string message) {
    throw StallError{{.kind = kind, .waits = {}, .message = std::move(message)}};
}

[[noreturn]] void stall(const Trouble& trouble) { stall(stall_kind(trouble.kind), trouble.text); }

}  // namespace

std::size_t NcclCommunicators::local_idx(Rank rank) const {
    const auto found = std::ranges::find(options_.local_ranks, rank, &LocalRank::rank);
    return static_cast<std::size_t>(found - options_.local_ranks.begin());
}

std::vector<ncclComm_t> NcclCommunicators::all() const {
    std::vector<ncclComm_t> all;
    for (const auto& [ranks, members] : groups_) {
        for (const Member& member : members) {
            if (member.comm != nullptr) all.push_back(member.comm);
        }
    }
    return all;
}

ncclComm_t NcclCommunicators::of(const RankGroup& group, Rank rank) const {
    const auto found = groups_.find(group.ranks);
    SP_ASSERT(found != groups_.end());
    const auto is_its = [&](const Member& member) { return options_.local_ranks[member.local_idx].rank == rank; };
    const auto member = std::ranges::find_if(found->second, is_its);
    SP_ASSERT(member != found->second.end());
    return member->comm;
}

std::optional<Trouble> NcclCommunicators::error() const {
    for (ncclComm_t comm : all()) {
        ncclResult_t state = ncclSuccess;
        const ncclResult_t asked = f_.ncclCommGetAsyncError(comm, &state);
        const ncclResult_t bad = asked != ncclSuccess ? asked : state;
        if (bad != ncclSuccess && bad != ncclInProgress)
            return Trouble{.text =
                               fmt::format("NCCL answered {} ({})", static_cast<int>(bad), f_.ncclGetErrorString(bad))};
    }
    return std::nullopt;
}

void NcclCommunicators::finish(ncclComm_t comm, std::string_view what, Moment deadline) {
    Patience patience;
    while (true) {
        ncclResult_t state = ncclSuccess;
        check(f_.ncclCommGetAsyncError(comm, &state));
        // What a peer process that gave up, or died, looks like from here.
        if (peers_.store() != nullptr && (state == ncclRemoteError || state == ncclSystemError)) {
            if (const auto cause = peers_.trouble(Transport::Look::now)) stall(*cause);
            stall(DeviceStall::Kind::peer_lost, error().value_or(Trouble{.text = "NCCL lost a peer"}).text);
        }
        check(state);
        if (state == ncclSuccess) return;
        if (!patience.pause()) continue;
        if (const auto cause = peers_.trouble(Transport::Look::now_and_then)) stall(*cause);
        if (std::chrono::steady_clock::now() >= deadline)
            stall(DeviceStall::Kind::deadline,
                  fmt::format("{}: {} did not end", deadline_passed(options_.deadline_s), what));
    }
}

std::string NcclCommunicators::key(const RankGroup& group, std::string_view what) const {
    return peers_.key(fmt::format("group {}/{}", all_ranks(group.ranks), what));
}

// The first member's process makes it, the others get it from the store.
ncclUniqueId NcclCommunicators::agree_on_id(const RankGroup& group, Moment deadline) {
    ncclUniqueId id{};
    Store* const store = peers_.store();
    if (local_idx(group.ranks.front()) < options_.local_ranks.size()) {
        check(f_.ncclGetUniqueId(&id));
        if (store != nullptr) store->set(key(group, "id"), std::as_bytes(std::span{&id, 1}));
        return id;
    }
    SP_ASSERT(store != nullptr);
    while (true) {
        constexpr double kSlice_s = 0.1;  // between looks at who is lost
        if (const auto bytes = store->get(key(group, "id"), kSlice_s)) {
            SP_ASSERT(bytes->size() == sizeof(id));
            std::memcpy(&id, bytes->data(), sizeof(id));
            return id;
        }
        if (const auto cause = peers_.trouble(Transport::Look::now)) stall(*cause);
        if (std::chrono::steady_clock::now() >= deadline) stall(DeviceStall::Kind::deadline, "no unique id came");
    }
}

void NcclCommunicators::create(const RankGroup& group, std::vector<Member>& members) {
    const Moment deadline = moment_in(options_.deadline_s);
    if (peers_.store() != nullptr) {
        for (const Member& member : members)
            peers_.store()->set(key(group, fmt::format("here/{}", options_.local_ranks[member.local_idx].rank.value())),
                                {});
    }
    const ncclUniqueId id = agree_on_id(group, deadline);
    NcclGroupCall together{f_};
    for (Member& member : members) {
        const LocalRank& local = options_.local_ranks[member.local_idx];
        const DeviceScope scope{local.device};
        ncclConfig_t config;
        config.blocking = 0;
        check(f_.ncclCommInitRankConfig(&member.comm, static_cast<int>(group.size()), id,
                                        static_cast<int>(group.idx_of(local.rank)), &config));
    }
    together.end();
    for (const Member& member : members) finish(member.comm, "ncclCommInitRankConfig", deadline);
}

void NcclCommunicators::connect(const RankGroup& group) {
    if (group.size() == 1 || groups_.contains(group.ranks)) return;
    std::vector<Member> members;
    for (const Rank rank : group.ranks) {
        const std::size_t local = local_idx(rank);
        if (local < options_.local_ranks.size()) members.push_back({.local_idx = local, .comm = nullptr});
    }
    if (members.empty()) return;
    // In its place before it is made, so that an abort reaches what is half made.
    std::vector<Member>& placed = groups_[group.ranks] = std::move(members);
    try {
        create(group, placed);
    } catch (const StallError& error) {
        report(group, error.stall());
    }
}

std::vector<Rank> NcclCommunicators::not_here(const RankGroup& group) {
    std::vector<Rank> absent;
    for (const Rank member : group.ranks) {
        if (local_idx(member) < options_.local_ranks.size() || peers_.store() == nullptr) continue;
        try {
            if (!peers_.store()->peek(key(group, fmt::format("here/{}", member.value())))) absent.push_back(member);
        } catch (const EnvironmentError&) {
            break;  // the store is gone: the stall's message says so
        }
    }
    return absent;
}

void NcclCommunicators::report(const RankGroup& group, DeviceStall stall) {
    const std::vector<Rank> absent = not_here(group);
    const std::string call = fmt::format("connect on {} [{}]", group.axis, all_ranks(group.ranks));
    for (const Rank member : group.ranks) {
        if (local_idx(member) < options_.local_ranks.size())
            stall.waits.push_back({.rank = member, .call = call, .absent = absent});
    }
    std::ranges::sort(stall.waits, {}, &DeviceStall::Wait::rank);
    const std::string why = stall.kind == DeviceStall::Kind::deadline
                                ? deadline_passed(options_.deadline_s)
                                : fmt::format("{}: {}", prefix_of(stall.kind), stall.message);
    stall.message = fmt::format("{}: rank {} waits in {}", why, stall.waits.at(0).rank.value(), call);
    if (!absent.empty())
        stall.message += fmt::format(" for rank{} {}", absent.size() == 1 ? "" : "s", all_ranks(absent));
    throw StallError{std::move(stall)};
}

}  // namespace shardproof::gpu
