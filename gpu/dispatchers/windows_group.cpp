#include "gpu/dispatchers/windows_group.hpp"

#ifdef SHARDPROOF_HAS_NCCL_DEVICE
#include <algorithm>
#include <cstdio>
#include <exception>

namespace shardproof::gpu {

WindowGroup::WindowGroup(NcclTransport& transport, const WindowApi& api, const RankGroup& group,
                         std::span<const LocalRank> members, int num_blocks)
    : transport_{transport}, api_{api}, num_ranks_{group.size()} {
    transport_.connect(group);
    for (const LocalRank& local : members) {
        members_.push_back({.local = local, .comm = transport_.communicator(group, local.rank)});
        // The kernels take a place in the group for a place in the communicator.
        SP_ASSERT(api_.reach_of(members_.back().comm).rank == static_cast<int>(group.idx_of(local.rank)));
    }
    require_reach();
    create_device_comms(num_blocks);
}

WindowGroup::~WindowGroup() {
    release_windows();
    if (abandoned_) return;
    for (const Member& member : members_) {
        if (member.has_device_comm) api_.destroy_device_comm(member.comm, member.device_comm);
    }
}

void WindowGroup::require_reach() const {
    for (const Member& member : members_) {
        const WindowApi::Reach reach = api_.reach_of(member.comm);
        if (reach.device_api && reach.num_memory_teams == 1 && reach.num_ranks == static_cast<int>(num_ranks_))
            continue;
        throw EnvironmentError{"dispatcher windows: the " + std::to_string(num_ranks_) +
                                   " ranks of the group cannot all reach each " + "other's memory (NCCL counts " +
                                   std::to_string(reach.num_memory_teams) + " LSA teams" +
                                   (reach.device_api ? ")" : ", and no device API)"),
                               "lay the expert-parallel group inside one node, or use --dispatcher send-receive"};
    }
}

template <class One>
void WindowGroup::together(const std::string& what, One one) {
    // The group call is closed even where a member's call failed.
    WindowApi::Code first_failure = 0;
    const auto note = [&](WindowApi::Code code) {
        if (first_failure == 0) first_failure = code;
    };
    api_.group_start();
    for (Member& member : members_) {
        const DeviceScope scope{member.local.device};
        note(one(member));
    }
    note(api_.group_end());
    api_.require(first_failure, what);
    for (const Member& member : members_) {
        transport_.finish(static_cast<ncclComm_t>(member.comm), what);
    }
}

void WindowGroup::create_device_comms(int num_blocks) {
    together("ncclDevCommCreate",
             [&](Member& member) { return api_.create_device_comm(member.comm, num_blocks, &member.device_comm); });
    for (Member& member : members_) member.has_device_comm = true;
}

void WindowGroup::resize(std::int64_t bytes) {
    release_windows();
    for (Member& member : members_) {
        const DeviceScope scope{member.local.device};
        member.memory = api_.allocate(bytes);
    }
    together("ncclCommWindowRegister",
             [&](Member& member) { return api_.register_window(member.comm, member.memory, bytes, &member.window); });
    for (const Member& member : members_) {
        if (member.window == nullptr) {
            throw EnvironmentError{
                "dispatcher windows: NCCL made no symmetric window",
                "it needs CUDA's virtual memory: do not set NCCL_CUMEM_ENABLE=0 or NCCL_WIN_ENABLE=0"};
        }
    }
    bytes_ = bytes;
}

void WindowGroup::release_windows() noexcept {
    bytes_ = 0;
    for (const Member& member : members_) {
        if (member.window != nullptr && !abandoned_) api_.deregister_window(member.comm, member.window);
    }
    for (Member& member : members_) {
        if (member.window == nullptr || abandoned_) continue;
        try {
            transport_.finish(static_cast<ncclComm_t>(member.comm), "ncclCommWindowDeregister");
        } catch (const std::exception& error) {
            // What NCCL may still map is better lost than freed.
            std::fprintf(stderr, "shardproof: giving back a window: %s\n", error.what());
            member.memory = nullptr;
        }
    }
    for (Member& member : members_) {
        member.window = nullptr;
        if (member.memory != nullptr) api_.free(member.memory);
        member.memory = nullptr;
    }
}

const WindowGroup::Member& WindowGroup::member(Rank rank) const {
    const auto found = std::ranges::find_if(members_, [&](const Member& m) { return m.local.rank == rank; });
    SP_ASSERT(found != members_.end());
    return *found;
}

}  // namespace shardproof::gpu
#endif
