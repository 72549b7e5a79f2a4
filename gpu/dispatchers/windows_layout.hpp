// Sizes that every rank of a group must agree on: what one window holds and where. Pure functions.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "gpu/dispatchers/dispatcher.hpp"

namespace shardproof::gpu {

inline constexpr std::int64_t kWindowPeersMax = 128;     // bits of a report
inline constexpr std::int64_t kWindowExpertsMax = 8192;  // 32 KiB of shared memory
inline constexpr std::int64_t kWindowRanksOfDeviceMax = 8;

// What a group of ranks exchanges, the same on each of them.
struct WindowShape {
    std::int64_t num_peers = 0;       // P
    std::int64_t num_experts = 0;     // E
    std::vector<std::int64_t> first_at;  // [P+1] first position of each peer's experts in the order of (peer, local)
    std::vector<std::int64_t> capacity;  // [P] rows that can arrive at each peer
    std::int64_t returned_rows = 0;   // the most that one rank sends
    std::int64_t row_bytes = 0;
    [[nodiscard]] std::int64_t locals(std::int64_t peer) const;
    [[nodiscard]] std::int64_t capacity_max() const;
};
// A token chooses an expert once, so a peer receives at most min(K, its experts) rows of each token of the group.
// Throws InputError for more peers or experts than the kernels' tables hold.
[[nodiscard]] WindowShape window_shape(const DispatchShape& shape, std::span<const Rank> group);

// Byte offsets from the beginning of each rank's window.
struct WindowLayout {
    std::int64_t counts = 0;    // int32 [P, E]: the rows that each peer has for each position
    std::int64_t arrived = 0;   // [capacity_max, D]
    std::int64_t returned = 0;  // [returned_rows, D]
    std::int64_t bytes = 0;
};
[[nodiscard]] WindowLayout window_layout(const WindowShape& shape);

// Entries of a rank's own int32 tables on its device, as offsets in elements.
struct WindowTables {
    std::int64_t first_at = 0;      // [P+1]
    std::int64_t capacity = 0;      // [P]
    std::int64_t to_row = 0;        // [E]
    std::int64_t expert_begin = 0;  // [locals+1]
    std::int64_t back_begin = 0;    // [locals*P+1]
    std::int64_t slot_begin = 0;    // [locals*P]
    std::int64_t count = 0;
};
[[nodiscard]] WindowTables window_tables(const WindowShape& shape, std::int64_t peer);

// Thread blocks of each rank's kernels. Those of all ranks on a device wait for each other, so that all must be
// resident at once. Throws EnvironmentError for more ranks on a device than were seen to finish.
[[nodiscard]] int window_blocks(int num_multiprocessors, std::int64_t ranks_of_device);

}  // namespace shardproof::gpu
