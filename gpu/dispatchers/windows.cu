#include "gpu/dispatchers/windows.cuh"

#ifdef SHARDPROOF_HAS_NCCL_DEVICE
#include <nccl.h>
#include <nccl_device.h>

#include <algorithm>
#include <cstring>

#include "gpu/check.hpp"

static_assert(NCCL_VERSION_CODE == 23203,
              "another NCCL's headers came first in the include path than the pinned 2.32.3");

namespace shardproof::gpu {
namespace {

static_assert(sizeof(ncclDevComm) <= sizeof(DeviceComm) && alignof(ncclDevComm) <= alignof(DeviceComm));

// Two blocks of these fit on a multiprocessor by threads and by registers (__launch_bounds__).
constexpr int kThreads = 512;
constexpr int kLanes = 32;
constexpr int kWarps = kThreads / kLanes;

ncclDevComm comm_of(const WindowRank& rank) {
    ncclDevComm comm;
    std::memcpy(&comm, rank.comm.bytes, sizeof(comm));
    return comm;
}

__device__ std::uint64_t now_ns() {
    std::uint64_t ns;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ns));
    return ns;
}

// The same answer for all threads of the block. Also a barrier of the block.
__device__ bool stopped(const WindowWatch& watch) {
    return __syncthreads_or(threadIdx.x == 0 && *static_cast<volatile std::int32_t*>(watch.stop) != 0) != 0;
}

// By one thread. The host sees a phase only when the bits are there, and the stop word only when the report is.
__device__ void report(const WindowWatch& watch, WindowPhase phase, const std::uint32_t* missing) {
    if (atomicExch(watch.claimed, 1) != 0) return;
    volatile WindowReport* to = watch.report;
    for (int i = 0; i < kWindowPeersMax / 32; ++i) to->missing[i] = missing[i];
    __threadfence_system();
    to->phase = static_cast<std::int32_t>(phase);
    __threadfence_system();
    *static_cast<volatile std::int32_t*>(watch.stop) = 1;
    __threadfence_system();
}

// Waits until block `slot` of every peer arrived; false, for all threads of the block, when it gave up.
__device__ bool meet(const ncclDevComm& comm, std::uint32_t slot, const WindowWatch& watch, WindowPhase phase) {
    constexpr std::uint64_t kSliceCycles = 1 << 21;  // about a millisecond
    static_assert(kWindowPeersMax <= kThreads);      // a thread waits for one peer
    __shared__ std::uint32_t missing[kWindowPeersMax / 32];
    __shared__ bool leave;
    const ncclCoopCta block;
    ncclLsaBarrierSession<ncclCoopCta> session{block, comm, ncclTeamTagLsa{}, slot};
    const std::uint32_t epoch = session.epoch;
    session.arrive(block, cuda::memory_order_release);
    const std::uint64_t begin = now_ns();
    bool waits = false;
    while (true) {
        waits = session.wait(block, cuda::memory_order_acquire, kSliceCycles) != ncclSuccess;
        if (!__syncthreads_or(waits)) return true;
        if (threadIdx.x == 0) {
            leave = *static_cast<volatile std::int32_t*>(watch.stop) != 0 ||
                    now_ns() - begin >= static_cast<std::uint64_t>(watch.deadline_ns);
        }
        __syncthreads();
        if (leave) break;
        // wait() counted the epoch in those threads whose peer came: all wait for the same one again.
        session.epoch = epoch;
    }
    if (threadIdx.x < kWindowPeersMax / 32) missing[threadIdx.x] = 0;
    __syncthreads();
    if (waits) {
        const int peer = static_cast<int>(threadIdx.x) + (comm.lsaRank <= static_cast<int>(threadIdx.x) ? 1 : 0);
        atomicOr(&missing[peer / 32], 1U << (peer % 32));
    }
    __syncthreads();
    if (threadIdx.x == 0) report(watch, phase, missing);
    return false;
}

// The last i with begin[i] <= x: the segment that x lies in, empty ones passed over. begin ascends from <= x.
__device__ int segment_of(const std::int32_t* begin, int num_segments, std::int32_t x) {
    int low = 0;
    int high = num_segments;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        (begin[middle] <= x ? low : high) = middle;
    }
    return low;
}

// By one warp: calls out(i, sum of value(j), j < i) for i = 0 .. count-1, and returns the whole sum.
template <class Value, class Out>
__device__ std::int32_t running_sum(int count, Value value, Out out) {
    const int lane = static_cast<int>(threadIdx.x) % kLanes;
    std::int32_t carry = 0;
    for (int begin = 0; begin < count; begin += kLanes) {
        const int i = begin + lane;
        const std::int32_t mine = i < count ? value(i) : 0;
        std::int32_t sum = mine;
        for (int step = 1; step < kLanes; step *= 2) {
            const std::int32_t below = __shfl_up_sync(~0U, sum, step);
            if (lane >= step) sum += below;
        }
        if (i < count) out(i, carry + sum - mine);
        carry += __shfl_sync(~0U, sum, kLanes - 1);
    }
    return carry;
}

// Whether each peer has room for what comes to it. Every rank sees the same counts and answers alike, so none is left
// alone at the next barrier. begin [E+1]: exclusive sums of the rows of each position, all sources together.
__device__ bool room_for_all(const WindowRank& rank, const std::int32_t* begin) {
    __shared__ std::uint32_t crowded[kWindowPeersMax / 32];
    if (threadIdx.x < kWindowPeersMax / 32) crowded[threadIdx.x] = 0;
    __syncthreads();
    const int peer = static_cast<int>(threadIdx.x);
    const bool full =
        peer < rank.num_peers && begin[rank.first_at[peer + 1]] - begin[rank.first_at[peer]] > rank.capacity[peer];
    if (full) atomicOr(&crowded[peer / 32], 1U << (peer % 32));
    if (!__syncthreads_or(full)) return true;
    if (threadIdx.x == 0) report(rank.watch, WindowPhase::room, crowded);
    return false;
}

__device__ void nothing_arrived(const WindowRank& rank) {
    for (int i = static_cast<int>(threadIdx.x); i <= rank.num_locals; i += kThreads) rank.expert_begin[i] = 0;
}

// From everybody's counts [P, E]: where my rows go, and where the rows that I work on came from.
__device__ bool compute_tables(const WindowRank& rank, const std::int32_t* counts) {
    extern __shared__ std::int32_t begin[];  // [E+1] rows of the positions before, all sources together
    const int peers = rank.num_peers;
    const int experts = rank.num_experts;
    const int thread = static_cast<int>(threadIdx.x);
    const auto sum_of_sources = [&](int position, int num_sources) {
        std::int32_t sum = 0;
        for (int source = 0; source < num_sources; ++source) sum += counts[source * experts + position];
        return sum;
    };
    const int first = rank.first_at[rank.me];
    const int locals = rank.num_locals;
    for (int e = thread; e < experts; e += kThreads) begin[e] = sum_of_sources(e, peers);
    __syncthreads();
    for (int row = thread / kLanes; row <= peers; row += kWarps) {
        if (row == 0) {
            const std::int32_t sum = running_sum(
                experts, [&](int e) { return begin[e]; }, [&](int e, std::int32_t below) { begin[e] = below; });
            if (thread % kLanes == 0) begin[experts] = sum;
            continue;
        }
        const int source = row - 1;
        running_sum(
            first + locals, [&](int e) { return counts[source * experts + e]; },
            [&](int e, std::int32_t below) {
                if (e >= first) rank.slot_begin[(e - first) * peers + source] = below;
            });
    }
    __syncthreads();
    if (!room_for_all(rank, begin)) return false;
    for (int e = thread; e < experts; e += kThreads) {
        const int holder = segment_of(rank.first_at, peers, e);
        rank.to_row[e] = begin[e] - begin[rank.first_at[holder]] + sum_of_sources(e, rank.me);
    }
    for (int l = thread; l <= locals; l += kThreads) rank.expert_begin[l] = begin[first + l] - begin[first];
    for (int cell = thread; cell < locals * peers; cell += kThreads) {
        const int position = first + cell / peers;
        rank.back_begin[cell] = begin[position] - begin[first] + sum_of_sources(position, cell % peers);
    }
    if (thread == 0) rank.back_begin[locals * peers] = begin[first + locals] - begin[first];
    return true;
}

__global__ __launch_bounds__(kThreads, 2) void meet_kernel(const __grid_constant__ ncclDevComm comm,
                                                           const __grid_constant__ WindowWatch watch) {
    if (!stopped(watch)) meet(comm, 0, watch, WindowPhase::prepare);
}

__global__ __launch_bounds__(kThreads, 2) void counts_kernel(const __grid_constant__ ncclDevComm comm,
                                                             const __grid_constant__ WindowRank rank,
                                                             const std::int32_t* rows_at) {
    if (stopped(rank.watch)) return nothing_arrived(rank);
    const auto window = static_cast<ncclWindow_t>(rank.window);
    const auto offset = static_cast<std::size_t>(rank.layout.counts);
    for (int i = static_cast<int>(threadIdx.x); i < rank.num_peers * rank.num_experts; i += kThreads) {
        const int e = i % rank.num_experts;
        auto* counts = static_cast<std::int32_t*>(ncclGetLsaPointer(window, offset, i / rank.num_experts));
        counts[rank.me * rank.num_experts + e] = rows_at[e];
    }
    const bool all_came = meet(comm, 0, rank.watch, WindowPhase::counts);
    // A peer on this device stored through an address of its own for the same memory.
    asm volatile("fence.proxy.alias;" ::: "memory");
    const auto* counts = static_cast<const std::int32_t*>(ncclGetLocalPointer(window, offset));
    if (!all_came || !compute_tables(rank, counts)) nothing_arrived(rank);
}

// By one warp. Several loads are in flight before the first store.
template <class Vector>
__device__ void copy_row(const Vector* __restrict__ from, Vector* __restrict__ to, std::int64_t width) {
    constexpr int kInFlight = 4;
    for (std::int64_t begin = threadIdx.x % kLanes; begin < width; begin += kInFlight * kLanes) {
        Vector held[kInFlight];
#pragma unroll
        for (int i = 0; i < kInFlight; ++i) {
            if (begin + i * kLanes < width) held[i] = from[begin + i * kLanes];
        }
#pragma unroll
        for (int i = 0; i < kInFlight; ++i) {
            if (begin + i * kLanes < width) to[begin + i * kLanes] = held[i];
        }
    }
}

__device__ int first_warp() { return static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kLanes; }
__device__ int num_warps() { return static_cast<int>(gridDim.x) * kWarps; }

template <class Vector>
__global__ __launch_bounds__(kThreads, 2) void rows_kernel(const __grid_constant__ ncclDevComm comm,
                                                           const __grid_constant__ WindowRank rank, const Vector* send,
                                                           const std::int32_t* begin_at) {
    if (stopped(rank.watch)) return;
    const auto window = static_cast<ncclWindow_t>(rank.window);
    const auto offset = static_cast<std::size_t>(rank.layout.arrived);
    const std::int64_t width = rank.row_bytes / static_cast<std::int64_t>(sizeof(Vector));
    const std::int32_t num_rows = begin_at[rank.num_experts];
    // Each rank begins with its own experts, so that not all store to the same peer at once.
    const std::int32_t begin = begin_at[rank.first_at[rank.me]];
    for (std::int32_t i = first_warp(); i < num_rows; i += num_warps()) {
        const std::int32_t slot = i < num_rows - begin ? begin + i : i - (num_rows - begin);
        const int position = segment_of(begin_at, rank.num_experts, slot);
        const int holder = segment_of(rank.first_at, rank.num_peers, position);
        const std::int64_t row = rank.to_row[position] + (slot - begin_at[position]);
        auto* arrived = static_cast<Vector*>(ncclGetLsaPointer(window, offset, holder));
        copy_row(send + slot * width, arrived + row * width, width);
    }
    meet(comm, blockIdx.x, rank.watch, WindowPhase::rows);
}

template <class Vector>
__global__ __launch_bounds__(kThreads, 2) void back_kernel(const __grid_constant__ ncclDevComm comm,
                                                           const __grid_constant__ WindowRank rank,
                                                           const Vector* worked) {
    if (stopped(rank.watch)) return;
    const auto window = static_cast<ncclWindow_t>(rank.window);
    const auto offset = static_cast<std::size_t>(rank.layout.returned);
    const std::int64_t width = rank.row_bytes / static_cast<std::int64_t>(sizeof(Vector));
    const int num_cells = rank.num_locals * rank.num_peers;
    const std::int32_t num_rows = rank.back_begin[num_cells];
    for (std::int32_t row = first_warp(); row < num_rows; row += num_warps()) {
        const int cell = segment_of(rank.back_begin, num_cells, row);
        const std::int64_t slot = rank.slot_begin[cell] + (row - rank.back_begin[cell]);
        auto* returned = static_cast<Vector*>(ncclGetLsaPointer(window, offset, cell % rank.num_peers));
        copy_row(worked + row * width, returned + slot * width, width);
    }
    meet(comm, blockIdx.x, rank.watch, WindowPhase::back);
}

template <class Vector>
void load_copying_kernels() {
    cudaFuncAttributes attributes;
    check(cudaFuncGetAttributes(&attributes, rows_kernel<Vector>));
    check(cudaFuncGetAttributes(&attributes, back_kernel<Vector>));
}

// Calls launch(Vector{}) with the widest type that a row is made of: a row begins at a multiple of its size.
template <class Launch>
void with_widest_vector(std::int64_t row_bytes, Launch launch) {
    if (row_bytes % 16 == 0) return launch(uint4{});
    if (row_bytes % 8 == 0) return launch(uint2{});
    if (row_bytes % 4 == 0) return launch(std::uint32_t{});
    launch(std::uint16_t{});
}

}  // namespace

void load_window_kernels() {
    cudaFuncAttributes attributes;
    check(cudaFuncGetAttributes(&attributes, meet_kernel));
    check(cudaFuncGetAttributes(&attributes, counts_kernel));
    load_copying_kernels<uint4>();
    load_copying_kernels<uint2>();
    load_copying_kernels<std::uint32_t>();
    load_copying_kernels<std::uint16_t>();
}

void meet_peers(const WindowRank& rank, StreamView stream) {
    meet_kernel<<<1, kThreads, 0, stream.raw()>>>(comm_of(rank), rank.watch);
    check(cudaGetLastError());
}

void exchange_counts(const WindowRank& rank, const std::int32_t* rows_at, StreamView stream) {
    const std::size_t shared_bytes = sizeof(std::int32_t) * (static_cast<std::size_t>(rank.num_experts) + 1);
    counts_kernel<<<1, kThreads, shared_bytes, stream.raw()>>>(comm_of(rank), rank, rows_at);
    check(cudaGetLastError());
}

void store_rows(const WindowRank& rank, const void* send, const std::int32_t* begin_at, StreamView stream) {
    with_widest_vector(rank.row_bytes, [&]<class Vector>(Vector) {
        rows_kernel<<<rank.num_blocks, kThreads, 0, stream.raw()>>>(comm_of(rank), rank,
                                                                    static_cast<const Vector*>(send), begin_at);
    });
    check(cudaGetLastError());
}

void return_rows(const WindowRank& rank, const void* worked, StreamView stream) {
    with_widest_vector(rank.row_bytes, [&]<class Vector>(Vector) {
        back_kernel<<<rank.num_blocks, kThreads, 0, stream.raw()>>>(comm_of(rank), rank,
                                                                    static_cast<const Vector*>(worked));
    });
    check(cudaGetLastError());
}

}  // namespace shardproof::gpu
#endif
