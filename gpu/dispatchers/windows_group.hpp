// WindowGroup: the windows and device communicators of this process's ranks in one group.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "gpu/dispatchers/windows_api.hpp"
#include "gpu/transport/nccl.hpp"

namespace shardproof::gpu {

class WindowGroup {
public:
    struct Member {
        LocalRank local;
        WindowApi::Comm comm = nullptr;
        bool has_device_comm = false;
        DeviceComm device_comm{};
        std::byte* memory = nullptr;
        WindowApi::Window window = nullptr;
    };
    // Connects, and makes a device communicator with `num_blocks` barriers for each of `members`. Every process with
    // ranks in the group does so. Throws EnvironmentError: the ranks do not all reach each other's memory. Waits at
    // most until the transport's deadline.
    WindowGroup(NcclTransport& transport, const WindowApi& api, const RankGroup& group,
                std::span<const LocalRank> members, int num_blocks);
    ~WindowGroup();
    WindowGroup(const WindowGroup&) = delete;
    WindowGroup& operator=(const WindowGroup&) = delete;

    [[nodiscard]] std::int64_t bytes() const { return bytes_; }
    // Windows of this size on every rank, contents lost; in every process that has ranks in the group. No kernel uses
    // the old ones.
    void resize(std::int64_t bytes);
    [[nodiscard]] const Member& member(Rank rank) const;
    // The communicator is aborted or about to be: what belongs to it goes with it.
    void abandon() { abandoned_ = true; }

private:
    void require_reach() const;
    void create_device_comms(int num_blocks);
    void release_windows() noexcept;
    // Calls one(member) for all members in one group call, and waits for what it started.
    template <class One>
    void together(const std::string& what, One one);

    NcclTransport& transport_;
    const WindowApi& api_;
    std::vector<Member> members_;
    std::size_t num_ranks_;
    std::int64_t bytes_ = 0;
    bool abandoned_ = false;
};

}  // namespace shardproof::gpu
