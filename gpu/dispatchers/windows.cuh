// The kernels of the windows dispatcher. Each rank of a group owns a window (WindowLayout) that its peers store into,
// and tables of its own. All kernels run on the rank's stream; none waits for the host.
//
// Order of one layer on a rank, [b] being a barrier of all ranks of the group with a deadline:
//   prepare:   poison the window;                                             [b0]
//   dispatch:  store my row of counts into every peer's window;               [b1]  compute the tables from all counts;
//              store my rows into their holders' `arrived`;                   [b2]
//   the experts read `arrived` and write `worked` (memory of the rank's own, no window);
//   combine:   store the rows of `worked` into their senders' `returned`;     [b3]
//
// A barrier has one slot a thread block: block i of a rank waits for block i of each peer. That makes a barrier of the
// ranks only for what comes after the kernel: a kernel of mine that ended has seen every block of every peer arrive,
// and so everything that its peers stored before. So no kernel reads, after its own barrier, what peers stored before
// it; only the kernel of counts does, which has one block.
//
// What must not happen, and what prevents it:
//  1. A fast peer stores counts before I poisoned my window, and I poison them away. -> It stores them after its b0,
//  which
//     it passes only when I arrived at mine, behind my poisoning on my stream.
//  2. A fast peer stores its counts of layer n+1 into my window while I still read those of layer n. -> I read counts
//     only in the kernel of counts of layer n. The peer's counts of n+1 come behind its b2 of layer n, which it passes
//     only when all my blocks arrived there, behind that kernel. From then on my tables hold all that is needed.
//  3. A fast peer stores rows of layer n+1 into my `arrived` while my experts still read those of layer n. -> It stores
//     them after its b1 of layer n+1. I arrive at mine behind my experts' kernels of layer n on my stream.
//  4. A fast peer stores rows of layer n+1 into my `returned` while I still add up those of layer n. -> It stores them
//     after its b2 (indeed b1) of layer n+1, at which I arrive behind my adding up.
//  5. A slow peer still stores into my window when I poison it for the next layer, or when it is freed. -> I do so
//  behind
//     my b3 (without a combine: b2), which I pass only when all its blocks arrived, behind their stores.
//  6. I read `arrived` before a peer's rows are there. -> My experts come behind my b2, and every block of every peer
//     arrived there behind its stores, released at system scope and acquired by my blocks.
//  7. A block waits for a block of a peer that cannot start, because waiting blocks fill the device. ->
//  window_blocks():
//     all blocks of all ranks of a device fit at once, at two a multiprocessor, so that half of each is left for
//     others.
//  8. A peer never comes. -> The wait ends at the deadline: the rank says who was missing, and sets the stop word of
//  its
//     process. Waiting kernels look at it every millisecond and leave, later kernels see it first and do nothing (the
//     kernel of counts says that no rows arrived, so that the experts find nothing to do). Nothing traps.
#pragma once
#include <cstddef>
#include <cstdint>

#include "gpu/dispatchers/windows_layout.hpp"
#include "gpu/stream.hpp"

namespace shardproof::gpu {

// Where a kernel of a rank waited; in the order of a layer.
enum class WindowPhase : std::int32_t { none, prepare, counts, rows, back, room };

// In pinned host memory, written by the device once, phase last.
struct WindowReport {
    std::int32_t phase;
    std::uint32_t missing[kWindowPeersMax / 32];  // a bit a peer; in phase `room` those that would get too many rows
};
// What a kernel needs to wait without hanging.
struct WindowWatch {
    std::int32_t* stop = nullptr;  // pinned host word of the process: not 0 means leave
    WindowReport* report = nullptr;  // pinned host memory of the rank
    std::int32_t* claimed = nullptr;  // device word of the rank, 0 at first: the first block that gives up reports
    std::int64_t deadline_ns = 0;  // of one wait
};

// ncclDevComm of the pinned headers, as bytes, for sources that do not see NCCL's headers.
struct DeviceComm {
    alignas(16) std::byte bytes[256];
};

struct WindowRank {
    DeviceComm comm{};
    void* window = nullptr;  // ncclWindow_t
    WindowLayout layout;
    std::int32_t num_peers = 0;
    std::int32_t num_experts = 0;
    std::int32_t me = 0;  // place in the group
    std::int32_t num_locals = 0;
    std::int64_t row_bytes = 0;  // a multiple of 2
    int num_blocks = 0;
    // Device tables: WindowTables.
    const std::int32_t* first_at = nullptr;
    const std::int32_t* capacity = nullptr;
    std::int32_t* to_row = nullptr;  // first row of my rows of each position, in the holder's `arrived`
    std::int32_t* expert_begin = nullptr;
    std::int32_t* back_begin = nullptr;  // first row of `worked` of each (local expert, source)
    std::int32_t* slot_begin = nullptr;  // its first slot at the source
    WindowWatch watch;
};

// Loads the kernels on the current device: a first launch that loads code may wait for the device, on which a peer's
// kernel waits for that launch.
void load_window_kernels();

// b0.
void meet_peers(const WindowRank& rank, StreamView stream);
// b1 and the tables. rows_at int32 [E], the rows of mine for each position; sums over peers stay below 2^31.
void exchange_counts(const WindowRank& rank, const std::int32_t* rows_at, StreamView stream);
// send [rows, D] by slot, 16-byte aligned; begin_at int32 [E+1], first slot of each position. b2.
void store_rows(const WindowRank& rank, const void* send, const std::int32_t* begin_at, StreamView stream);
// worked [rows, D] in the places of `arrived`, 16-byte aligned. b3.
void return_rows(const WindowRank& rank, const void* worked, StreamView stream);

}  // namespace shardproof::gpu
