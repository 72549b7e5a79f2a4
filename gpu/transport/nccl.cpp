#include "gpu/transport/nccl.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <map>
#include <set>
#include <vector>

#include "gpu/buffer.hpp"
#include "gpu/ledger.hpp"
#include "gpu/patience.hpp"
#include "gpu/transport/bounded.hpp"
#include "gpu/transport/nccl_calls.hpp"
#include "gpu/transport/nccl_group.hpp"
#include "gpu/transport/nccl_sharing.hpp"
#include "gpu/transport/store.hpp"

namespace shardproof::gpu {
namespace {

using Moment = std::chrono::steady_clock::time_point;

std::string ranks_text(const std::vector<Rank>& ranks) {
    std::string text;
    for (const Rank rank : ranks) text += fmt::format("{}{}", text.empty() ? "" : ",", rank.value());
    return text;
}

}  // namespace

struct NcclTransport::Impl {
    explicit Impl(const TransportOptions& given) : options{given}, f{NcclLibrary::get().f()} {}

    struct Member {
        std::size_t local_idx = 0;
        ncclComm_t comm = nullptr;
    };
    TransportOptions options;
    const NcclFunctions& f;
    std::string prefix;                                  // of this transport's keys in the store
    std::map<std::vector<Rank>, std::vector<Member>> groups;  // the local members of each connected one
    std::vector<DeviceBytes> scratch;                    // of each local rank
    bool aborted = false;
    Moment asked_for_lost{};
    std::unique_ptr<Attachment> attachment;

    [[nodiscard]] std::vector<ncclComm_t> comms() const;
    [[nodiscard]] const Member* find(const RankGroup& group, Rank rank) const;
    [[nodiscard]] std::size_t local_idx(Rank rank) const;  // number of local ranks: another process's
    [[nodiscard]] std::optional<std::string> lost(Look look = Look::now_and_then);
    [[nodiscard]] std::string answer_text(ncclResult_t result) const {
        return fmt::format("NCCL answered {} ({})", static_cast<int>(result), f.ncclGetErrorString(result));
    }
    void abort() noexcept;
    [[noreturn]] void stall(DeviceStall::Kind kind, std::string message);
    [[nodiscard]] std::string key(const RankGroup& group, std::string_view what) const;
    [[nodiscard]] ncclUniqueId agree_on_id(const RankGroup& group, Moment deadline);
    void create(const RankGroup& group, std::vector<Member>& members);
    void finish(ncclComm_t comm, std::string_view what, Moment deadline);
    [[noreturn]] void report_connect(const RankGroup& group, const StallError& error);
};

std::vector<ncclComm_t> NcclTransport::Impl::comms() const {
    std::vector<ncclComm_t> all;
    for (const auto& [ranks, members] : groups) {
        for (const Member& member : members) {
            if (member.comm != nullptr) all.push_back(member.comm);
        }
    }
    return all;
}

std::size_t NcclTransport::Impl::local_idx(Rank rank) const {
    const auto found = std::ranges::find(options.local_ranks, rank, &LocalRank::rank);
    return static_cast<std::size_t>(found - options.local_ranks.begin());
}

const NcclTransport::Impl::Member* NcclTransport::Impl::find(const RankGroup& group, Rank rank) const {
    const auto found = groups.find(group.ranks);
    if (found == groups.end()) return nullptr;
    for (const Member& member : found->second) {
        if (options.local_ranks[member.local_idx].rank == rank) return &member;
    }
    return nullptr;
}

// Asks the store every now and then only: it answers over a socket.
std::optional<std::string> NcclTransport::Impl::lost(Look look) {
    constexpr std::chrono::milliseconds kEvery{20};
    const Moment now = std::chrono::steady_clock::now();
    if (options.store == nullptr || (look == Look::now_and_then && now < asked_for_lost + kEvery)) return std::nullopt;
    asked_for_lost = now;
    try {
        const std::vector<std::int64_t> gone = options.store->lost();
        if (!gone.empty()) {
            return fmt::format("process{} {} {} gone", gone.size() == 1 ? "" : "es", fmt::join(gone, ", "),
                               gone.size() == 1 ? "is" : "are");
        }
        const std::vector<std::int64_t> quit = options.store->quitters();
        if (quit.empty()) return std::nullopt;
        return fmt::format("process{} {} gave up", quit.size() == 1 ? "" : "es", fmt::join(quit, ", "));
    } catch (const EnvironmentError& error) {
        return error.what();
    }
}

void NcclTransport::Impl::abort() noexcept {
    if (aborted) return;
    aborted = true;
    try {
        // First: a peer's call that an abort cuts short may end with wrong bytes and no error of its own.
        if (options.store != nullptr) options.store->quit();
        if (attachment) attachment->abandon();
        const std::vector<ncclComm_t> all = comms();
        groups.clear();
        if (all.empty()) return;
        const double seconds = std::clamp(options.deadline_s, 2.0, 20.0);
        if (!ends_within(seconds, [&functions = f, all] { abort_all(functions, all); }))
            std::fprintf(stderr, "shardproof: NCCL did not end its calls within %g s of the abort\n", seconds);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "shardproof: aborting NCCL: %s\n", error.what());
    }
}

void NcclTransport::Impl::stall(DeviceStall::Kind kind, std::string message) {
    abort();
    throw StallError{{.kind = kind, .waits = {}, .message = std::move(message)}};
}

void NcclTransport::Impl::finish(ncclComm_t comm, std::string_view what, Moment deadline) {
    Patience patience;
    while (true) {
        ncclResult_t state = ncclSuccess;
        check(f.ncclCommGetAsyncError(comm, &state));
        // What a peer process that gave up, or died, looks like from here.
        if (options.store != nullptr && (state == ncclRemoteError || state == ncclSystemError))
            stall(DeviceStall::Kind::peer_lost, lost().value_or(answer_text(state)));
        check(state);
        if (state == ncclSuccess) return;
        if (!patience.pause()) continue;
        if (const auto gone = lost()) stall(DeviceStall::Kind::peer_lost, *gone);
        if (std::chrono::steady_clock::now() >= deadline)
            stall(DeviceStall::Kind::deadline,
                  fmt::format("deadline of {:g} s passed: {} did not end", options.deadline_s, what));
    }
}

std::string NcclTransport::Impl::key(const RankGroup& group, std::string_view what) const {
    return fmt::format("{}group {}/{}", prefix, ranks_text(group.ranks), what);
}

// The first member's process makes it, the others get it from the store.
ncclUniqueId NcclTransport::Impl::agree_on_id(const RankGroup& group, Moment deadline) {
    ncclUniqueId id{};
    if (local_idx(group.ranks.front()) < options.local_ranks.size()) {
        check(f.ncclGetUniqueId(&id));
        if (options.store != nullptr) options.store->set(key(group, "id"), std::as_bytes(std::span{&id, 1}));
        return id;
    }
    SP_ASSERT(options.store != nullptr);
    while (true) {
        constexpr double kSlice_s = 0.1;  // between looks at who is lost
        if (const auto bytes = options.store->get(key(group, "id"), kSlice_s)) {
            SP_ASSERT(bytes->size() == sizeof(id));
            std::memcpy(&id, bytes->data(), sizeof(id));
            return id;
        }
        if (const auto gone = lost()) stall(DeviceStall::Kind::peer_lost, *gone);
        if (std::chrono::steady_clock::now() >= deadline) stall(DeviceStall::Kind::deadline, "no unique id came");
    }
}

void NcclTransport::Impl::create(const RankGroup& group, std::vector<Member>& members) {
    const Moment deadline = moment_in(options.deadline_s);
    if (options.store != nullptr) {
        for (const Member& member : members)
            options.store->set(key(group, fmt::format("here/{}", options.local_ranks[member.local_idx].rank.value())),
                               {});
    }
    const ncclUniqueId id = agree_on_id(group, deadline);
    NcclGroupCall together{f};
    for (Member& member : members) {
        const LocalRank& local = options.local_ranks[member.local_idx];
        const DeviceScope scope{local.device};
        ncclConfig_t config;
        config.blocking = 0;
        check(f.ncclCommInitRankConfig(&member.comm, static_cast<int>(group.size()), id,
                                       static_cast<int>(group.idx_of(local.rank)), &config));
    }
    together.end();
    for (const Member& member : members) finish(member.comm, "ncclCommInitRankConfig", deadline);
}

void NcclTransport::Impl::report_connect(const RankGroup& group, const StallError& error) {
    DeviceStall stall = error.stall();
    std::vector<Rank> absent;
    for (const Rank member : group.ranks) {
        if (local_idx(member) < options.local_ranks.size() || options.store == nullptr) continue;
        try {
            if (!options.store->peek(key(group, fmt::format("here/{}", member.value())))) absent.push_back(member);
        } catch (const EnvironmentError&) {
            break;  // the store is gone: stall.message says so
        }
    }
    const std::string call = fmt::format("connect on {} [{}]", group.axis, ranks_text(group.ranks));
    for (const Rank member : group.ranks) {
        if (local_idx(member) < options.local_ranks.size())
            stall.waits.push_back({.rank = member, .call = call, .absent = absent});
    }
    std::ranges::sort(stall.waits, {}, &DeviceStall::Wait::rank);
    const std::string why = stall.kind == DeviceStall::Kind::peer_lost
                                ? "peer lost: " + stall.message
                                : fmt::format("deadline of {:g} s passed", options.deadline_s);
    stall.message = fmt::format("{}: rank {} waits in {}", why, stall.waits.at(0).rank.value(), call);
    if (!absent.empty())
        stall.message += fmt::format(" for rank{} {}", absent.size() == 1 ? "" : "s", ranks_text(absent));
    throw StallError{std::move(stall)};
}

NcclTransport::NcclTransport(const TransportOptions& options) : impl_{std::make_unique<Impl>(options)} {
    // All processes make their transports in the same order, so that equal numbers mean the same one.
    static std::atomic<int> num_made = 0;
    impl_->prefix = fmt::format("nccl {}/", num_made++);
    SP_ASSERT(!options.local_ranks.empty());
    SP_ASSERT(options.store != nullptr || static_cast<std::int64_t>(options.local_ranks.size()) == options.world);
    prepare_nccl_environment(find_sharing(options, impl_->prefix), library().version(),
                             options.local_ranks.front().rank);
    for (const LocalRank& local : options.local_ranks) {
        const DeviceScope scope{local.device};
        impl_->scratch.emplace_back(static_cast<std::int64_t>(sizeof(float)));
        check(cudaMemsetAsync(impl_->scratch.back().data(), 0, sizeof(float), local.stream.raw()));
    }
}

NcclTransport::~NcclTransport() {
    if (impl_->aborted) return;
    if (trouble()) {
        abort();
        return;
    }
    try {
        impl_->attachment.reset();
        const std::vector<ncclComm_t> all = impl_->comms();
        if (all.empty()) return;
        constexpr double kQuiet_s = 5;
        if (!ends_within(2 * kQuiet_s, [&f = impl_->f, all] { destroy_all(f, all, kQuiet_s); }))
            std::fprintf(stderr, "shardproof: NCCL did not free its communicators within %g s\n", 2 * kQuiet_s);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "shardproof: freeing NCCL's communicators: %s\n", error.what());
    }
}

std::string NcclTransport::describe() const {
    std::set<int> devices;
    for (const LocalRank& local : impl_->options.local_ranks) devices.insert(local.device);
    const std::size_t here = impl_->options.local_ranks.size();
    const std::string ranks = static_cast<std::int64_t>(here) == impl_->options.world
                                  ? fmt::format("{} rank{}", here, here == 1 ? "" : "s")
                                  : fmt::format("{} of {} ranks", here, impl_->options.world);
    return fmt::format("{}, {} on {} GPU{}", NcclLibrary::describe(), ranks, devices.size(),
                       devices.size() == 1 ? "" : "s");
}

void NcclTransport::connect(const RankGroup& group) {
    if (group.size() == 1 || impl_->groups.contains(group.ranks)) return;
    SP_ASSERT(!impl_->aborted);
    std::vector<Impl::Member> members;
    for (const Rank rank : group.ranks) {
        const std::size_t local = impl_->local_idx(rank);
        if (local < impl_->options.local_ranks.size()) members.push_back({.local_idx = local, .comm = nullptr});
    }
    if (members.empty()) return;
    // In its place before it is made, so that an abort reaches what is half made.
    std::vector<Impl::Member>& placed = impl_->groups[group.ranks] = std::move(members);
    try {
        impl_->create(group, placed);
    } catch (const StallError& error) {
        impl_->report_connect(group, error);
    } catch (...) {
        abort();
        throw;
    }
}

void NcclTransport::enqueue(std::span<const DeviceCall> calls) {
    SP_ASSERT(!impl_->aborted);
    std::vector<ncclComm_t> used;
    for (const DeviceCall& call : calls) {
        connect(*call.group);
        const LocalRank& local = impl_->options.local_ranks.at(impl_->local_idx(call.rank));
        const DeviceScope scope{local.device};
        copy_own(call, local.stream);
        if (call.group->size() > 1) used.push_back(communicator(*call.group, call.rank));
    }
    if (used.empty()) return;
    NcclGroupCall together{impl_->f};
    std::size_t next = 0;
    for (const DeviceCall& call : calls) {
        if (call.group->size() == 1) continue;
        const std::size_t local = impl_->local_idx(call.rank);
        const LocalRank& rank = impl_->options.local_ranks[local];
        const DeviceScope scope{rank.device};
        issue({.f = impl_->f, .comm = used[next++], .scratch = impl_->scratch[local].data()}, call, rank.stream);
    }
    together.end();
    // The kernels are on their streams only now; the first call of a pair waits for the other side's.
    const Moment deadline = moment_in(impl_->options.deadline_s);
    for (ncclComm_t comm : used) impl_->finish(comm, "ncclGroupEnd", deadline);
}

std::optional<std::string> NcclTransport::find_trouble(Look look) {
    if (impl_->aborted) return "the transport was aborted";
    for (ncclComm_t comm : impl_->comms()) {
        ncclResult_t state = ncclSuccess;
        const ncclResult_t asked = impl_->f.ncclCommGetAsyncError(comm, &state);
        const ncclResult_t bad = asked != ncclSuccess ? asked : state;
        if (bad == ncclSuccess || bad == ncclInProgress) continue;
        return impl_->answer_text(bad);
    }
    return impl_->lost(look);
}

void NcclTransport::abort() noexcept { impl_->abort(); }

ncclComm_t NcclTransport::communicator(const RankGroup& group, Rank rank) const {
    const Impl::Member* member = impl_->find(group, rank);
    SP_ASSERT(member != nullptr);
    return member->comm;
}

std::unique_ptr<Attachment>& NcclTransport::attachment() { return impl_->attachment; }

const NcclLibrary& NcclTransport::library() const { return NcclLibrary::get(); }

void NcclTransport::finish(ncclComm_t comm, std::string_view what) {
    impl_->finish(comm, what, moment_in(impl_->options.deadline_s));
}

}  // namespace shardproof::gpu
