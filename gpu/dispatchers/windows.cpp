#include "gpu/dispatchers/windows.hpp"

#include "gpu/transport/nccl.hpp"

#ifdef SHARDPROOF_HAS_NCCL_DEVICE
#include <algorithm>
#include <map>

#include "gpu/dispatchers/windows.cuh"
#include "gpu/dispatchers/windows_api.hpp"
#include "gpu/dispatchers/windows_group.hpp"
#include "gpu/dispatchers/windows_watch.hpp"
#endif

namespace shardproof::gpu {

std::optional<std::string> windows_why_not(std::string_view transport, int nccl_version) {
    if (transport != "nccl") return "it stores through NCCL's windows, which only the transport nccl has";
    if (!windows_were_built()) return "this build had no headers of NCCL 2.32.3";
    // Kernels read structs that the library fills, and these differ from version to version.
    if (nccl_version != kNcclDeviceApiVersion)
        return "NCCL " + nccl_version_text(nccl_version) +
               " was found, the kernels are compiled for the device structs of 2.32.3";
    return std::nullopt;
}

std::optional<std::string> why_no_windows(const Transport& transport) {
    const auto* nccl = dynamic_cast<const NcclTransport*>(&transport);
    return windows_why_not(transport.name(), nccl == nullptr ? 0 : nccl->library().version());
}

#ifndef SHARDPROOF_HAS_NCCL_DEVICE

bool windows_were_built() { return false; }

std::unique_ptr<Dispatcher> make_windows_dispatcher(Transport&, Ledger&, std::span<const LocalRank>) {
    throw EnvironmentError{"dispatcher windows: this build had no headers of NCCL 2.32.3",
                           "build with -DSHARDPROOF_NCCL_INCLUDE=DIR, or use --dispatcher send-receive"};
}

#else

bool windows_were_built() { return true; }

namespace {

// What one local rank holds besides its window.
struct Room {
    WindowRank device;                 // what its kernels are given; num_peers 0: alone
    DeviceArray<std::int32_t> tables;  // WindowTables
    DeviceBytes worked;                // [capacity, D]
    std::int64_t capacity = 0;         // rows that may arrive here
};

// The windows of all groups, kept from one world to the next: to register them is dear.
class WindowGroups final : public Attachment {
public:
    explicit WindowGroups(NcclTransport& transport)
        : transport_{transport}, api_{[&](const char* name) { return transport.library().symbol(name); }} {}
    void abandon() noexcept override {
        for (auto& [key, group] : groups_) group.abandon();
    }
    // That of the transport, made when first asked for.
    [[nodiscard]] static WindowGroups& of(NcclTransport& transport) {
        if (!transport.attachment()) transport.attachment() = std::make_unique<WindowGroups>(transport);
        return dynamic_cast<WindowGroups&>(*transport.attachment());
    }
    // With barriers for `num_blocks` blocks a kernel.
    WindowGroup& of_group(const RankGroup& group, const std::vector<LocalRank>& members, int num_blocks) {
        return groups_.try_emplace({group.ranks, num_blocks}, transport_, api_, group, std::span{members}, num_blocks)
            .first->second;
    }

private:
    NcclTransport& transport_;
    WindowApi api_;
    std::map<std::pair<std::vector<Rank>, int>, WindowGroup> groups_;
};

class Windows final : public WindowsDispatcher {
public:
    Windows(NcclTransport& transport, Ledger& ledger, std::span<const LocalRank> ranks)
        : groups_{WindowGroups::of(transport)},
          ledger_{ledger},
          ranks_{ranks},
          watch_{std::make_shared<WindowsWatch>(ranks, ledger.deadline_s())},
          rooms_(ranks.size()) {
        // The ledger may outlive this dispatcher.
        ledger.watch(
            {.trouble = [watch = watch_] { return watch->trouble(); }, .stop = [watch = watch_] { watch->stop(); }});
    }
    void prepare(std::span<RankDispatch> parts, const DispatchShape& shape) override;
    void dispatch(std::span<RankDispatch> parts) override;
    void combine(std::span<RankDispatch> parts) override;
    [[nodiscard]] std::optional<std::string> trouble() const override { return watch_->trouble(); }
    void stop() noexcept override { watch_->stop(); }

private:
    [[nodiscard]] const LocalRank& local(const RankDispatch& part) const { return ranks_[part.local_idx]; }
    [[nodiscard]] Matrix rows(void* data, std::int64_t count) const {
        return {.data = data, .rows = count, .cols = shape_.hidden, .arithmetic = shape_.arithmetic};
    }
    [[nodiscard]] int num_blocks() const;
    WindowGroup& group_with_room(const RankGroup& group, std::int64_t bytes);
    void prepare_alone(RankDispatch& part);
    void prepare_member(RankDispatch& part, const WindowGroup& group, const WindowShape& shape);
    void fill_tables(const RankDispatch& part, const WindowShape& shape);
    void poison_and_meet(const RankDispatch& part, const WindowGroup& group);

    WindowGroups& groups_;
    Ledger& ledger_;
    std::span<const LocalRank> ranks_;
    std::shared_ptr<WindowsWatch> watch_;
    DispatchShape shape_;
    std::vector<Room> rooms_;  // one a local rank
};

bool is_alone(const RankDispatch& part) { return part.group->size() == 1; }

// The same in every process: they run equally many ranks a device, on devices of one kind.
int Windows::num_blocks() const {
    int result = 0;
    for (const LocalRank& rank : ranks_) {
        const auto here = std::ranges::count_if(ranks_, [&](const LocalRank& r) { return r.device == rank.device; });
        int multiprocessors = 0;
        check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, rank.device));
        const int blocks = window_blocks(multiprocessors, here);
        result = result == 0 ? blocks : std::min(result, blocks);
    }
    return result;
}

WindowGroup& Windows::group_with_room(const RankGroup& group, std::int64_t bytes) {
    std::vector<LocalRank> members;
    for (const LocalRank& rank : ranks_) {
        if (std::ranges::find(group.ranks, rank.rank) != group.ranks.end()) members.push_back(rank);
    }
    WindowGroup& found = groups_.of_group(group, members, num_blocks());
    if (found.bytes() < bytes) {
        ledger_.wait();
        found.resize(bytes);
    }
    return found;
}

void Windows::prepare(std::span<RankDispatch> parts, const DispatchShape& shape) {
    shape_ = shape;
    // First all that allocates and loads: while kernels wait for each other, nothing of the kind may hold up a launch.
    std::vector<const WindowGroup*> groups;
    for (RankDispatch& part : parts) {
        const DeviceScope scope{local(part).device};
        groups.push_back(nullptr);
        if (is_alone(part)) {
            prepare_alone(part);
            continue;
        }
        load_window_kernels();
        const WindowShape sizes = window_shape(shape, part.group->ranks);
        const WindowGroup& group = group_with_room(*part.group, window_layout(sizes).bytes);
        groups.back() = &group;
        prepare_member(part, group, sizes);
    }
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const DeviceScope scope{local(parts[i]).device};
        if (groups[i] != nullptr) poison_and_meet(parts[i], *groups[i]);
    }
}

void Windows::prepare_alone(RankDispatch& part) {
    Room& room = rooms_[part.local_idx];
    room.capacity = part.num_rows * shape_.top_k;
    room.worked.reserve(room.capacity * shape_.hidden * element_bytes(shape_.arithmetic));
    room.worked.poison(local(part).stream);
    part.worked = rows(room.worked.data(), room.capacity);
}

void Windows::prepare_member(RankDispatch& part, const WindowGroup& group, const WindowShape& shape) {
    const WindowGroup::Member& member = group.member(local(part).rank);
    Room& room = rooms_[part.local_idx];
    const auto me = static_cast<std::int64_t>(part.group->idx_of(local(part).rank));
    room.capacity = shape.capacity[static_cast<std::size_t>(me)];
    room.worked.reserve(room.capacity * shape.row_bytes);
    room.tables.reserve(window_tables(shape, me).count);
    room.device = {.comm = member.device_comm,
                   .window = member.window,
                   .layout = window_layout(shape),
                   .num_peers = static_cast<std::int32_t>(shape.num_peers),
                   .num_experts = static_cast<std::int32_t>(shape.num_experts),
                   .me = static_cast<std::int32_t>(me),
                   .num_locals = static_cast<std::int32_t>(shape.locals(me)),
                   .row_bytes = shape.row_bytes,
                   .num_blocks = num_blocks(),
                   .watch = watch_->of(part.local_idx)};
    watch_->names(part.local_idx, *part.group);
    fill_tables(part, shape);
    part.arrived = rows(member.memory + room.device.layout.arrived, room.capacity);
    part.worked = rows(room.worked.data(), room.capacity);
    part.returned = rows(member.memory + room.device.layout.returned, part.num_rows * shape_.top_k);
    part.expert_begin = room.device.expert_begin;
}

void Windows::fill_tables(const RankDispatch& part, const WindowShape& shape) {
    Room& room = rooms_[part.local_idx];
    const StreamView stream = local(part).stream;
    const WindowTables at = window_tables(shape, room.device.me);
    std::int32_t* tables = room.tables.data();
    room.tables.poison(stream);
    const auto send = [&](const std::vector<std::int64_t>& values, std::int64_t offset) {
        const std::vector<std::int32_t> narrow(values.begin(), values.end());
        upload(std::as_bytes(std::span{narrow}), tables + offset, stream);
        return tables + offset;
    };
    room.device.first_at = send(shape.first_at, at.first_at);
    room.device.capacity = send(shape.capacity, at.capacity);
    room.device.to_row = tables + at.to_row;
    room.device.expert_begin = tables + at.expert_begin;
    room.device.back_begin = tables + at.back_begin;
    room.device.slot_begin = tables + at.slot_begin;
}

void Windows::poison_and_meet(const RankDispatch& part, const WindowGroup& group) {
    const StreamView stream = local(part).stream;
    Room& room = rooms_[part.local_idx];
    room.worked.poison(stream);
    check(cudaMemsetAsync(group.member(local(part).rank).memory, 0xFF,
                          static_cast<std::size_t>(room.device.layout.bytes), stream.raw()));
    meet_peers(room.device, stream);
}

void Windows::dispatch(std::span<RankDispatch> parts) {
    for (RankDispatch& part : parts) {
        const DeviceScope scope{local(part).device};
        if (is_alone(part)) {
            part.arrived = rows(const_cast<void*>(part.send.data), part.send.rows);
            part.expert_begin = part.begin_at;
            continue;
        }
        exchange_counts(rooms_[part.local_idx].device, part.rows_at, local(part).stream);
    }
    for (const RankDispatch& part : parts) {
        if (is_alone(part)) continue;
        const DeviceScope scope{local(part).device};
        store_rows(rooms_[part.local_idx].device, part.send.data, part.begin_at, local(part).stream);
    }
}

void Windows::combine(std::span<RankDispatch> parts) {
    for (RankDispatch& part : parts) {
        if (is_alone(part)) {
            part.returned = part.worked;
            continue;
        }
        const DeviceScope scope{local(part).device};
        return_rows(rooms_[part.local_idx].device, part.worked.data, local(part).stream);
    }
}

}  // namespace

std::unique_ptr<Dispatcher> make_windows_dispatcher(Transport& transport, Ledger& ledger,
                                                    std::span<const LocalRank> ranks) {
    auto* nccl = dynamic_cast<NcclTransport*>(&transport);
    if (nccl == nullptr) {
        throw InputError{{"command line", "--dispatcher", "windows",
                          "does not go with this transport: " + why_no_windows(transport).value_or("")}};
    }
    if (const auto why = why_no_windows(transport)) {
        throw EnvironmentError{"dispatcher windows: " + *why + " (" + nccl->library().file() + ")",
                               "use the library of nvidia-nccl-cu13 2.32.3, or --dispatcher send-receive"};
    }
    return std::make_unique<Windows>(*nccl, ledger, ranks);
}

#endif

}  // namespace shardproof::gpu
