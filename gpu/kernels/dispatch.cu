// A stable counting sort in three kernels: each warp counts a chunk of consecutive choices, each position's counts are
// summed over the chunks, each warp puts its chunk's choices in their slots. Only integers, and no order is left to
// chance.
#include "gpu/kernels/device_math.cuh"
#include "gpu/kernels/dispatch.cuh"

namespace shardproof::gpu {
namespace {

constexpr int kWarpsMax = 4;
constexpr int kBatch = 8;                          // loads of ids a lane has in flight
constexpr std::int64_t kChunkMin = kBatch * kWarp;
constexpr int kChunksMax = 512;
constexpr std::int64_t kSharedBytesMax = 48 * 1024;
constexpr std::int64_t kArrivalCountsMax = 6000;  // twice, beside what the scans share between warps
constexpr std::int64_t kExpertsMax = kSharedBytesMax / 4;
constexpr std::int64_t kRowsMax = 0x7FFF'FFFF;

// How the choices are cut into chunks, one a warp; always one at least, so that no choices give counts too.
struct Chunks {
    int count = 1;
    std::int64_t size = kChunkMin;
};
Chunks chunks_of(std::int64_t num_choices) {
    Chunks chunks;
    const std::int64_t least = (num_choices + kChunksMax - 1) / kChunksMax;
    chunks.size = std::max(kChunkMin, (least + kChunkMin - 1) / kChunkMin * kChunkMin);
    chunks.count = static_cast<int>(std::max<std::int64_t>(1, (num_choices + chunks.size - 1) / chunks.size));
    return chunks;
}

struct Sort {
    const std::int32_t* ids;
    const std::int32_t* place;
    std::int64_t num_choices;
    int num_experts;
    Chunks chunks;
    std::int32_t* counts;  // [E, chunks.count], by position; later how many of the position are in chunks before
};

// The positions of a batch of this warp's choices, choice first + j * 32 + lane in at[j]; -1 from `end` on.
__device__ void load_positions(const Sort& sort, std::int64_t first, std::int64_t end, int (&at)[kBatch]) {
    const int lane = static_cast<int>(threadIdx.x % kWarp);
#pragma unroll
    for (int j = 0; j < kBatch; ++j) {
        const std::int64_t choice = first + j * kWarp + lane;
        at[j] = choice < end ? sort.ids[choice] : -1;
    }
#pragma unroll
    for (int j = 0; j < kBatch; ++j) {
        if (at[j] >= 0) at[j] = sort.place[at[j]];
    }
}

extern __shared__ std::int32_t of_warps[];  // [warps, E]

__global__ void __launch_bounds__(kWarpsMax* kWarp) count_chunks(Sort sort) {
    const int lane = static_cast<int>(threadIdx.x % kWarp);
    const int warp = static_cast<int>(threadIdx.x / kWarp);
    const std::int64_t chunk = static_cast<std::int64_t>(blockIdx.x) * (blockDim.x / kWarp) + warp;
    if (chunk >= sort.chunks.count) return;
    std::int32_t* rows = of_warps + warp * sort.num_experts;
    for (int p = lane; p < sort.num_experts; p += kWarp) rows[p] = 0;
    __syncwarp();
    const std::int64_t end = min(sort.num_choices, (chunk + 1) * sort.chunks.size);
    for (std::int64_t first = chunk * sort.chunks.size; first < end; first += kBatch * kWarp) {
        int at[kBatch];
        load_positions(sort, first, end, at);
#pragma unroll
        for (int j = 0; j < kBatch; ++j) {
            if (at[j] >= 0) atomicAdd(rows + at[j], 1);
        }
    }
    __syncwarp();
    for (int p = lane; p < sort.num_experts; p += kWarp) {
        sort.counts[static_cast<std::int64_t>(p) * sort.chunks.count + chunk] = rows[p];
    }
}

// A warp a position: its counts become exclusive sums over the chunks.
__global__ void __launch_bounds__(kWarpsMax* kWarp) scan_chunks(Sort sort, std::int32_t* rows_at) {
    constexpr int kEach = kChunksMax / kWarp;
    const int lane = static_cast<int>(threadIdx.x % kWarp);
    const int p = static_cast<int>(blockIdx.x * kWarpsMax + threadIdx.x / kWarp);
    if (p >= sort.num_experts) return;
    std::int32_t* counts = sort.counts + static_cast<std::int64_t>(p) * sort.chunks.count;
    std::int32_t held[kEach];
#pragma unroll
    for (int j = 0; j < kEach; ++j) held[j] = j * kWarp + lane < sort.chunks.count ? counts[j * kWarp + lane] : 0;
    std::int32_t before = 0;
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
        if (j * kWarp >= sort.chunks.count) break;
        const std::int32_t through = before + warp_inclusive_sum(held[j]);
        if (j * kWarp + lane < sort.chunks.count) counts[j * kWarp + lane] = through - held[j];
        before = __shfl_sync(kAllLanes, through, kWarp - 1);
    }
    if (lane == 0) rows_at[p] = before;
}

// The next slot of each position for this warp's chunk. The first warp of all writes the positions' first slots as
// well.
__device__ void first_slots(const Sort& sort, std::int64_t chunk, const std::int32_t* rows_at, std::int32_t* begin_at,
                            std::int32_t* next_slot) {
    const int lane = static_cast<int>(threadIdx.x % kWarp);
    std::int32_t before = 0;
    for (int base = 0; base < sort.num_experts; base += kWarp) {
        const int p = base + lane;
        const std::int32_t rows = p < sort.num_experts ? rows_at[p] : 0;
        const std::int32_t through = before + warp_inclusive_sum(rows);
        if (p < sort.num_experts) {
            const std::int64_t cell = static_cast<std::int64_t>(p) * sort.chunks.count + chunk;
            next_slot[p] = through - rows + sort.counts[cell];
            if (chunk == 0) begin_at[p] = through - rows;
        }
        before = __shfl_sync(kAllLanes, through, kWarp - 1);
    }
    if (chunk == 0 && lane == 0) begin_at[sort.num_experts] = before;
}

__global__ void __launch_bounds__(kWarpsMax* kWarp)
    fill_slots(Sort sort, const std::int32_t* rows_at, std::int32_t* begin_at, std::int32_t* slot_choice,
               std::int32_t* slot_of) {
    const unsigned lane = threadIdx.x % kWarp;
    const int warp = static_cast<int>(threadIdx.x / kWarp);
    const std::int64_t chunk = static_cast<std::int64_t>(blockIdx.x) * (blockDim.x / kWarp) + warp;
    if (chunk >= sort.chunks.count) return;
    std::int32_t* next_slot = of_warps + warp * sort.num_experts;
    first_slots(sort, chunk, rows_at, begin_at, next_slot);
    __syncwarp();
    const std::int64_t end = min(sort.num_choices, (chunk + 1) * sort.chunks.size);
    for (std::int64_t first = chunk * sort.chunks.size; first < end; first += kBatch * kWarp) {
        int at[kBatch];
        load_positions(sort, first, end, at);
#pragma unroll
        for (int j = 0; j < kBatch; ++j) {
            const unsigned same = __match_any_sync(kAllLanes, at[j]);
            const unsigned lower = same & ((1U << lane) - 1U);
            std::int32_t slot = 0;
            if (at[j] >= 0) slot = next_slot[at[j]] + __popc(lower);
            __syncwarp();
            if (at[j] >= 0 && lower == 0) next_slot[at[j]] = slot + __popc(same);
            __syncwarp();
            if (at[j] < 0) continue;
            const auto choice = static_cast<std::int32_t>(first + j * kWarp + lane);
            slot_of[choice] = slot;
            slot_choice[slot] = choice;
        }
    }
}

// ---- arrival

constexpr int kArrivalThreads = 256;

// to[i] = sum of value(j) over j < i, for 0 <= i <= count. All threads of the block; they meet before and after.
template <class Value>
__device__ void block_exclusive_scan(int count, Value value, std::int32_t* to) {
    constexpr int kWarps = kArrivalThreads / kWarp;
    __shared__ std::int32_t of_warp[kWarps];
    std::int32_t before = 0;
    for (int base = 0; base < count; base += kArrivalThreads) {
        const int i = base + static_cast<int>(threadIdx.x);
        const std::int32_t mine = i < count ? value(i) : 0;
        const std::int32_t through = warp_inclusive_sum(mine);
        __syncthreads();
        if (threadIdx.x % kWarp == kWarp - 1) of_warp[threadIdx.x / kWarp] = through;
        __syncthreads();
        std::int32_t sum = 0;
        std::int32_t warps_before = 0;
#pragma unroll
        for (int w = 0; w < kWarps; ++w) {
            if (w == static_cast<int>(threadIdx.x / kWarp)) warps_before = sum;
            sum += of_warp[w];
        }
        if (i < count) to[i] = before + warps_before + through - mine;
        before += sum;
    }
    if (threadIdx.x == 0) to[count] = before;
    __syncthreads();
}

// Every block sums all counts for itself, there are few, and fills its share of the rows.
__global__ void __launch_bounds__(kArrivalThreads)
    fill_arrival(const std::int32_t* counts, int num_peers, int num_locals, std::int32_t* expert_begin,
                 std::int32_t* arrival_row, std::int64_t capacity) {
    const int cells = num_peers * num_locals;
    std::int32_t* arrives = of_warps;                 // [cells+1] first row of each (peer, local)
    std::int32_t* wanted = of_warps + cells + 1;      // [cells+1] first row of each (local, peer)
    block_exclusive_scan(cells, [&](int i) { return counts[i]; }, arrives);
    block_exclusive_scan(cells, [&](int i) { return counts[i % num_peers * num_locals + i / num_peers]; }, wanted);
    if (blockIdx.x == 0) {
        for (int l = static_cast<int>(threadIdx.x); l <= num_locals; l += kArrivalThreads) {
            expert_begin[l] = wanted[l * num_peers];
        }
    }
    const std::int64_t num_rows = min(static_cast<std::int64_t>(wanted[cells]), capacity);
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * kArrivalThreads;
    for (std::int64_t r = static_cast<std::int64_t>(blockIdx.x) * kArrivalThreads + threadIdx.x; r < num_rows;
         r += stride) {
        int cell = 0;  // the last that begins at r or before: cells without rows begin where the next one does
        for (int end = cells; end - cell > 1;) {
            const int middle = cell + (end - cell) / 2;
            if (wanted[middle] <= r) {
                cell = middle;
            } else {
                end = middle;
            }
        }
        const std::int32_t within = static_cast<std::int32_t>(r) - wanted[cell];
        arrival_row[r] = arrives[cell % num_peers * num_locals + cell / num_peers] + within;
    }
}

}  // namespace

std::int64_t dispatch_scratch_bytes(std::int64_t num_choices, std::int64_t num_experts) {
    return num_experts * chunks_of(num_choices).count * 4;
}

void plan_dispatch_on_device(const std::int32_t* ids, std::int64_t num_choices, std::int64_t num_experts,
                             const std::int32_t* place, std::int32_t* rows_at, std::int32_t* begin_at,
                             std::int32_t* slot_choice, std::int32_t* slot_of, void* scratch, StreamView stream) {
    SP_ASSERT(num_choices >= 0 && num_choices <= kRowsMax);
    SP_ASSERT(num_experts >= 1 && num_experts <= kExpertsMax);
    const Sort sort{ids,
                    place,
                    num_choices,
                    static_cast<int>(num_experts),
                    chunks_of(num_choices),
                    static_cast<std::int32_t*>(scratch)};
    const auto warps = static_cast<unsigned>(std::clamp<std::int64_t>(kExpertsMax / num_experts, 1, kWarpsMax));
    const auto shared_bytes = static_cast<std::size_t>(warps * num_experts * 4);
    const unsigned blocks = blocks_for(sort.chunks.count, warps);
    count_chunks<<<blocks, warps * kWarp, shared_bytes, stream.raw()>>>(sort);
    check(cudaGetLastError());
    scan_chunks<<<blocks_for(num_experts, kWarpsMax), kWarpsMax * kWarp, 0, stream.raw()>>>(sort, rows_at);
    check(cudaGetLastError());
    fill_slots<<<blocks, warps * kWarp, shared_bytes, stream.raw()>>>(sort, rows_at, begin_at, slot_choice, slot_of);
    check(cudaGetLastError());
}

void plan_arrival_on_device(const std::int32_t* counts, std::int64_t num_peers, std::int64_t num_locals,
                            std::int32_t* expert_begin, std::int32_t* arrival_row, std::int64_t capacity,
                            StreamView stream) {
    SP_ASSERT(num_peers >= 0 && num_locals >= 0 && capacity >= 0 && capacity <= kRowsMax);
    SP_ASSERT(num_peers * num_locals <= kArrivalCountsMax);
    const std::int64_t shared_bytes = 2 * (num_peers * num_locals + 1) * 4;
    constexpr std::int64_t kRowsEach = 4 * kArrivalThreads;
    constexpr std::int64_t kBlocksEach = 4;  // all at once: each sums the counts anew
    const unsigned blocks = striding_blocks_for(capacity, kRowsEach, kBlocksEach);
    fill_arrival<<<blocks, kArrivalThreads, static_cast<std::size_t>(shared_bytes), stream.raw()>>>(
        counts, static_cast<int>(num_peers), static_cast<int>(num_locals), expert_begin, arrival_row, capacity);
    check(cudaGetLastError());
}

}  // namespace shardproof::gpu
