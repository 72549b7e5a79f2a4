#include "gpu/transport/loopback.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <vector>

#include "gpu/buffer.hpp"
#include "gpu/kernels/elementwise.cuh"
#include "gpu/transport/gate.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

struct Member {
    LocalRank local;
    Event reached;
    bool stuck = false;  // stands before a call that never completes
};

// What the sums of one group need; used on its members' streams only, in order.
struct GroupMemory {
    std::vector<DeviceBytes> sums;  // the last is in use; freeing the outgrown ones would wait for the device
    DeviceBytes parts;              // [members, members] pointers, a row a member
};

struct Part {
    const DeviceCall* call = nullptr;
    Member* member = nullptr;
    [[nodiscard]] StreamView stream() const { return member->local.stream; }
    [[nodiscard]] const std::byte* send() const { return static_cast<const std::byte*>(call->send); }
    [[nodiscard]] std::byte* receive() const { return static_cast<std::byte*>(call->receive); }
};

std::int64_t sum_of(const std::vector<std::int64_t>& counts, std::size_t num) {
    return std::accumulate(counts.begin(), counts.begin() + static_cast<std::ptrdiff_t>(num), std::int64_t{0});
}

void copy(void* to, const void* from, std::int64_t bytes, StreamView stream) {
    if (bytes > 0 && to != from)
        check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToDevice, stream.raw()));
}

class Loopback final : public Transport {
public:
    explicit Loopback(const TransportOptions& options);

    [[nodiscard]] std::string_view name() const override { return "loopback"; }
    [[nodiscard]] std::string describe() const override {
        return fmt::format("loopback, {} rank{} on 1 GPU", members_.size(), members_.size() == 1 ? "" : "s");
    }
    void connect(const RankGroup& group) override;
    void enqueue(std::span<const DeviceCall> calls) override;
    [[nodiscard]] std::optional<Trouble> find_trouble(Look) override {
        if (aborted_) return Trouble{.text = "the transport was aborted"};
        return std::nullopt;
    }
    void abort() noexcept override {
        aborted_ = true;
        gate_.open();
    }

private:
    Member& member(Rank rank);
    // The calls of one group in its order; holds those that came when some did not.
    void enqueue_group(std::span<const DeviceCall* const> calls);
    void meet(std::span<const Part> parts);
    void move(std::span<const Part> parts);
    void gather_all(std::span<const Part> parts);
    void exchange_all(std::span<const Part> parts);
    void reduce_all(std::span<const Part> parts);
    void reduce_slices(std::span<const Part> parts);
    // out = sum of every member's send from element `begin` on, on the stream of parts[idx].
    void sum_into(std::span<const Part> parts, std::size_t idx, std::int64_t begin, std::int64_t count, void* out);

    int device_;
    std::vector<Member> members_;  // by rank
    std::map<std::vector<Rank>, GroupMemory> memory_;
    Event met_;
    Gate gate_;
    bool aborted_ = false;
};

Loopback::Loopback(const TransportOptions& options)
    : device_{options.local_ranks.empty() ? 0 : options.local_ranks.front().device}, gate_{3 * options.deadline_s + 5} {
    for (const LocalRank& local : options.local_ranks) {
        if (local.device != device_)
            throw InputError{{.file = "command line",
                              .field = "--transport",
                              .value = "loopback",
                              .rule = fmt::format("runs ranks of one GPU: rank {} is on device {}, rank {} on {}",
                                                  options.local_ranks.front().rank.value(), device_, local.rank.value(),
                                                  local.device)}};
        members_.push_back({.local = local, .reached = Event{}, .stuck = false});
    }
    if (static_cast<std::int64_t>(members_.size()) != options.world)
        throw InputError{
            {.file = {},
             .field = "--transport",
             .value = "loopback",
             .rule = fmt::format("runs ranks of one process: this one has {} of {}", members_.size(), options.world)}};
}

Member& Loopback::member(Rank rank) {
    const auto found = std::ranges::find_if(members_, [&](const Member& m) { return m.local.rank == rank; });
    SP_ASSERT(found != members_.end());
    return *found;
}

void Loopback::connect(const RankGroup& group) {
    const DeviceScope scope{device_};
    const auto [found, is_new] = memory_.try_emplace(group.ranks);
    if (is_new) found->second.parts.reserve(static_cast<std::int64_t>(group.size() * group.size() * sizeof(void*)));
}

void Loopback::enqueue(std::span<const DeviceCall> calls) {
    SP_ASSERT(!aborted_);
    std::vector<const std::vector<Rank>*> seen;
    for (const DeviceCall& first : calls) {
        const std::vector<Rank>& ranks = first.group->ranks;
        if (std::ranges::any_of(seen, [&](const auto* other) { return *other == ranks; })) continue;
        seen.push_back(&ranks);
        std::vector<const DeviceCall*> of_group(ranks.size(), nullptr);
        for (const DeviceCall& call : calls) {
            if (call.group->ranks == ranks) of_group[call.group->idx_of(call.rank)] = &call;
        }
        connect(*first.group);
        enqueue_group(of_group);
    }
}

void Loopback::enqueue_group(std::span<const DeviceCall* const> calls) {
    const DeviceScope scope{device_};
    std::vector<Part> parts;
    for (const DeviceCall* call : calls) {
        if (call != nullptr) parts.push_back({.call = call, .member = &member(call->rank)});
    }
    const bool complete = parts.size() == calls.size() &&
                          std::ranges::none_of(parts, [](const Part& part) { return part.member->stuck; });
    if (!complete) {
        for (const Part& part : parts) {
            if (!part.member->stuck) gate_.hold(part.stream());
            part.member->stuck = true;
        }
        return;
    }
    // A copy starts when all members' streams have come to the call, and none goes on before its buffers were read.
    meet(parts);
    move(parts);
    meet(parts);
}

void Loopback::meet(std::span<const Part> parts) {
    if (parts.size() == 1) return;
    const StreamView first = parts[0].stream();
    for (const Part& part : parts.subspan(1)) {
        part.member->reached.record(part.stream());
        part.member->reached.hold(first);
    }
    met_.record(first);
    for (const Part& part : parts.subspan(1)) met_.hold(part.stream());
}

void Loopback::move(std::span<const Part> parts) {
    const DeviceCall& first = *parts[0].call;
    switch (first.kind) {
        case CollectiveKind::all_gather:
            return gather_all(parts);
        case CollectiveKind::reduce_scatter:
            return reduce_slices(parts);
        case CollectiveKind::all_reduce:
            return reduce_all(parts);
        case CollectiveKind::all_to_all:
            return exchange_all(parts);
        case CollectiveKind::broadcast:
            for (const Part& to : parts)
                copy(to.call->receive, parts[first.root_idx].call->send, to.call->receive_bytes(), to.stream());
            return;
        case CollectiveKind::barrier:
            return;
    }
}

void Loopback::gather_all(std::span<const Part> parts) {
    for (const Part& to : parts) {
        std::byte* target = to.receive();
        for (const Part& from : parts) {
            const std::int64_t bytes = from.call->send_bytes();
            copy(target, from.send(), bytes, to.stream());
            target += bytes;
        }
    }
}

void Loopback::exchange_all(std::span<const Part> parts) {
    const std::int64_t width = bits_of(parts[0].call->dtype) / 8;
    for (std::size_t to = 0; to < parts.size(); ++to) {
        std::byte* target = parts[to].receive();
        for (const Part& from : parts) {
            const std::int64_t bytes = from.call->counts[to] * width;
            copy(target, from.send() + sum_of(from.call->counts, to) * width, bytes, parts[to].stream());
            target += bytes;
        }
    }
}

void Loopback::sum_into(std::span<const Part> parts, std::size_t idx, std::int64_t begin, std::int64_t count,
                        void* out) {
    if (count == 0) return;
    const DeviceCall& call = *parts[idx].call;
    SP_ASSERT(call.dtype == DType::F32 || call.dtype == DType::BF16 || call.dtype == DType::I64);
    std::vector<const void*> sends;
    for (const Part& part : parts) sends.push_back(part.send() + begin * bits_of(call.dtype) / 8);
    const GroupMemory& memory = memory_.at(call.group->ranks);
    auto* row = reinterpret_cast<const void**>(memory.parts.data()) + idx * parts.size();
    // Few enough for the driver to take them along with the command: no wait for the stream.
    upload(std::as_bytes(std::span{sends}), static_cast<void*>(row), parts[idx].stream());
    sum_parts(row, static_cast<int>(parts.size()), call.dtype, out, count, parts[idx].stream());
}

void Loopback::reduce_slices(std::span<const Part> parts) {
    std::int64_t begin = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const std::int64_t count = parts[i].call->counts[i];
        sum_into(parts, i, begin, count, parts[i].call->receive);
        begin += count;
    }
}

void Loopback::reduce_all(std::span<const Part> parts) {
    const DeviceCall& call = *parts[0].call;
    const std::int64_t bytes = call.send_bytes();
    if (bytes == 0) return;
    // Callers may reduce in place, so the sums are taken before any is handed out.
    std::vector<DeviceBytes>& sums = memory_.at(call.group->ranks).sums;
    if (sums.empty() || sums.back().size() < bytes)
        sums.emplace_back(std::max(bytes, sums.empty() ? 0 : 2 * sums.back().size()));
    sum_into(parts, 0, 0, sum_of(call.counts, call.counts.size()), sums.back().data());
    meet(parts);
    for (const Part& to : parts) copy(to.call->receive, sums.back().data(), bytes, to.stream());
}

}  // namespace

std::unique_ptr<Transport> make_loopback(const TransportOptions& options) {
    SP_ASSERT(!options.local_ranks.empty());
    const DeviceScope scope{options.local_ranks.front().device};  // its events are of that device
    return std::make_unique<Loopback>(options);
}

}  // namespace shardproof::gpu
