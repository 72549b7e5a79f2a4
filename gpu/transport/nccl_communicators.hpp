// NcclCommunicators: those of this process's ranks, made once a group and cached by rank list.
#pragma once
#include <chrono>
#include <map>
#include <string_view>
#include <vector>

#include "gpu/stall.hpp"
#include "gpu/transport/nccl_library.hpp"
#include "gpu/transport/peers.hpp"

namespace shardproof::gpu {

class NcclCommunicators {
public:
    using Moment = std::chrono::steady_clock::time_point;
    // All outlive it.
    NcclCommunicators(const TransportOptions& options, const NcclFunctions& f, Peers& peers)
        : options_{options}, f_{f}, peers_{peers} {}

    [[nodiscard]] std::size_t local_idx(Rank rank) const;  // number of local ranks: another process's
    // Makes those of a group, where it has none yet. Waits for the other processes at most until the deadline given at
    // creation. Throws StallError, NcclError; what is half made then is among all(), for an abort.
    void connect(const RankGroup& group);
    // SP_ASSERT: a local rank of a connected group.
    [[nodiscard]] ncclComm_t of(const RankGroup& group, Rank rank) const;
    [[nodiscard]] std::vector<ncclComm_t> all() const;
    void forget() { groups_.clear(); }
    // Waits until a communicator is done with what it was asked for. Throws StallError, NcclError.
    void finish(ncclComm_t comm, std::string_view what, Moment deadline);
    // NCCL's error on any of them.
    [[nodiscard]] std::optional<Trouble> error() const;

private:
    struct Member {
        std::size_t local_idx = 0;
        ncclComm_t comm = nullptr;
    };
    [[nodiscard]] std::string key(const RankGroup& group, std::string_view what) const;
    [[nodiscard]] ncclUniqueId agree_on_id(const RankGroup& group, Moment deadline);
    void create(const RankGroup& group, std::vector<Member>& members);
    [[nodiscard]] std::vector<Rank> not_here(const RankGroup& group);  // ranks whose process did not come to connect()
    [[noreturn]] void report(const RankGroup& group, DeviceStall stall);

    const TransportOptions& options_;
    const NcclFunctions& f_;
    Peers& peers_;
    std::map<std::vector<Rank>, std::vector<Member>> groups_;  // the local members of each
};

}  // namespace shardproof::gpu
