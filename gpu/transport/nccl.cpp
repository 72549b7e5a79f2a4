#include "gpu/transport/nccl.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <set>
#include <vector>

#include "gpu/buffer.hpp"
#include "gpu/patience.hpp"
#include "gpu/stall.hpp"
#include "gpu/transport/bounded.hpp"
#include "gpu/transport/nccl_calls.hpp"
#include "gpu/transport/nccl_communicators.hpp"
#include "gpu/transport/nccl_group.hpp"
#include "gpu/transport/nccl_sharing.hpp"

namespace shardproof::gpu {

struct NcclTransport::Impl {
    Impl(const TransportOptions& given, std::string prefix)
        : options{given}, f{NcclLibrary::get().f()}, peers{given.store, std::move(prefix)} {}

    TransportOptions options;
    const NcclFunctions& f;
    Peers peers;
    NcclCommunicators communicators{options, f, peers};
    std::vector<DeviceBytes> scratch;  // of each local rank
    bool aborted = false;
    std::unique_ptr<Attachment> attachment;

    void enqueue(std::span<const DeviceCall> calls);
    void abort() noexcept;
    // An error of NCCL is most often what a peer's giving up looks like: where the store knows who and why, that.
    template <class Body>
    void with_cause(Body body);
    // The same, and what is thrown passes on after an abort.
    template <class Body>
    void or_abort(Body body);
};

void NcclTransport::Impl::abort() noexcept {
    if (aborted) return;
    aborted = true;
    try {
        // First: a peer's call that an abort cuts short may end with wrong bytes and no error of its own.
        peers.quit();
        if (attachment) attachment->abandon();
        const std::vector<ncclComm_t> all = communicators.all();
        communicators.forget();
        if (all.empty()) return;
        // Kernels of ranks that share a GPU read each other's buffers: none of these goes before all of them have left.
        constexpr double kLeave_s = 2;
        if (!ends_within(kLeave_s, [&functions = f, all] { revoke_all(functions, all); }))
            std::fprintf(stderr, "shardproof: NCCL did not end its calls within %g s\n", kLeave_s);
        // A stream that is still busy after a while is so with something else.
        constexpr double kBusy_s = 1;
        (void)streams_idle_within(kBusy_s, options.local_ranks);
        const double seconds = std::clamp(options.deadline_s, 2.0, 20.0);
        if (!ends_within(seconds, [&functions = f, all] { abort_all(functions, all); }))
            std::fprintf(stderr, "shardproof: NCCL did not end its calls within %g s of the abort\n", seconds);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "shardproof: aborting NCCL: %s\n", error.what());
    }
}

template <class Body>
void NcclTransport::Impl::with_cause(Body body) {
    try {
        body();
    } catch (const NcclError&) {
        const auto cause = peers.trouble(Look::now);
        if (!cause) throw;
        throw StallError{{.kind = stall_kind(cause->kind), .waits = {}, .message = cause->text}};
    }
}

template <class Body>
void NcclTransport::Impl::or_abort(Body body) {
    try {
        with_cause(body);
    } catch (...) {
        abort();
        throw;
    }
}

namespace {

// All processes make their transports in the same order, so that equal numbers mean the same one.
std::string next_prefix() {
    static std::atomic<int> num_made = 0;
    return fmt::format("nccl {}/", num_made++);
}

}  // namespace

NcclTransport::NcclTransport(const TransportOptions& options) : impl_{std::make_unique<Impl>(options, next_prefix())} {
    SP_ASSERT(!options.local_ranks.empty());
    SP_ASSERT(options.store != nullptr || static_cast<std::int64_t>(options.local_ranks.size()) == options.world);
    prepare_nccl_environment(find_sharing(options, impl_->peers.key("")), library().version(),
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
        const std::vector<ncclComm_t> all = impl_->communicators.all();
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
    SP_ASSERT(!impl_->aborted);
    impl_->or_abort([&] { impl_->communicators.connect(group); });
}

void NcclTransport::enqueue(std::span<const DeviceCall> calls) {
    SP_ASSERT(!impl_->aborted);
    // The caller aborts: it may have kernels to stop before.
    impl_->with_cause([&] { impl_->enqueue(calls); });
}

void NcclTransport::Impl::enqueue(std::span<const DeviceCall> calls) {
    std::vector<ncclComm_t> used;
    for (const DeviceCall& call : calls) {
        communicators.connect(*call.group);
        const LocalRank& local = options.local_ranks.at(communicators.local_idx(call.rank));
        const DeviceScope scope{local.device};
        copy_own(call, local.stream);
        if (call.group->size() > 1) used.push_back(communicators.of(*call.group, call.rank));
    }
    if (used.empty()) return;
    peers.called(calls);
    NcclGroupCall together{f};
    std::size_t next = 0;
    for (const DeviceCall& call : calls) {
        if (call.group->size() == 1) continue;
        const std::size_t local = communicators.local_idx(call.rank);
        const LocalRank& rank = options.local_ranks[local];
        const DeviceScope scope{rank.device};
        issue({.f = f, .comm = used[next++], .scratch = scratch[local].data()}, call, rank.stream);
    }
    together.end();
    // The kernels are on their streams only now; the first call of a pair waits for the other side's.
    const auto deadline = moment_in(options.deadline_s);
    for (ncclComm_t comm : used) communicators.finish(comm, "ncclGroupEnd", deadline);
}

std::optional<Trouble> NcclTransport::find_trouble(Look look) {
    if (impl_->aborted) return Trouble{.text = "the transport was aborted"};
    if (const auto error = impl_->communicators.error()) {
        // Most often what a peer's giving up looks like: the store may know who and why.
        const auto cause = impl_->peers.trouble(Look::now);
        return cause ? cause : error;
    }
    return impl_->peers.trouble(look);
}

std::optional<std::vector<Standing>> NcclTransport::last_words(std::span<const Standing> mine, double wait_s) noexcept {
    std::vector<Rank> others;
    for (Rank rank{0}; rank.value() < impl_->options.world; rank = Rank{rank.value() + 1}) {
        if (impl_->communicators.local_idx(rank) == impl_->options.local_ranks.size()) others.push_back(rank);
    }
    return impl_->peers.last_words(mine, others, wait_s);
}

void NcclTransport::abort() noexcept { impl_->abort(); }

ncclComm_t NcclTransport::communicator(const RankGroup& group, Rank rank) const {
    return impl_->communicators.of(group, rank);
}

std::unique_ptr<Attachment>& NcclTransport::attachment() { return impl_->attachment; }

const NcclLibrary& NcclTransport::library() const { return NcclLibrary::get(); }

void NcclTransport::finish(ncclComm_t comm, std::string_view what) {
    impl_->or_abort([&] { impl_->communicators.finish(comm, what, moment_in(impl_->options.deadline_s)); });
}

}  // namespace shardproof::gpu
