// Device code shared by the kernels: elements and packs of them, sums over a warp or a block; and how kernels are
// launched. For .cu files only.
#pragma once
#ifdef __CUDACC__
#include <cuda_bf16.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "gpu/check.hpp"
#include "gpu/kernels/matrix.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xFFFF'FFFFU;
constexpr int kPackBytes = 16;  // one vector access

__device__ inline float widened(float value) { return value; }
__device__ inline float widened(__nv_bfloat16 value) { return __bfloat162float(value); }
template <class T>
__device__ T rounded(float value) {
    if constexpr (sizeof(T) == 4) {
        return value;
    } else {
        return __float2bfloat16_rn(value);
    }
}

// kCount consecutive elements, read or written by one thread in 16-byte accesses.
template <class T, int kCount>
struct alignas(std::min<std::size_t>(kPackBytes, kCount * sizeof(T))) Pack {
    T at[kCount];
};
template <int kCount, class T>
__device__ Pack<T, kCount> load_pack(const T* from) {
    return *reinterpret_cast<const Pack<T, kCount>*>(from);
}
template <int kCount, class T>
__device__ void store_pack(T* to, const Pack<T, kCount>& pack) {
    *reinterpret_cast<Pack<T, kCount>*>(to) = pack;
}

// All lanes take part, and all get the result.
__device__ inline float warp_sum(float value) {
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) value += __shfl_xor_sync(kAllLanes, value, lanes);
    return value;
}
__device__ inline float warp_max(float value) {
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
        value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, lanes));
    }
    return value;
}
// The sum of the lanes up to this one.
__device__ inline std::int32_t warp_inclusive_sum(std::int32_t value) {
    const int lane = static_cast<int>(threadIdx.x % kWarp);
    for (int lanes = 1; lanes < kWarp; lanes *= 2) {
        const std::int32_t below = __shfl_up_sync(kAllLanes, value, lanes);
        if (lane >= lanes) value += below;
    }
    return value;
}

// The sum over a block of whole warps, the same bits in all threads. Once a kernel: its shared memory is not given
// back.
__device__ inline float block_sum(float value) {
    __shared__ float of_warp[kWarp];
    value = warp_sum(value);
    if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = value;
    __syncthreads();
    float sum = 0.0F;
    for (unsigned warp = 0; warp < blockDim.x / kWarp; ++warp) sum += of_warp[warp];
    return sum;
}

// ---- the host's side

template <class T>
constexpr int kPack = kPackBytes / static_cast<int>(sizeof(T));

inline bool aligned(std::initializer_list<const void*> pointers) {
    return std::all_of(pointers.begin(), pointers.end(),
                       [](const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % kPackBytes == 0; });
}
// Whether rows of `cols` elements can be read and written in packs.
template <class T>
bool packs_fit(std::int64_t cols, std::initializer_list<const void*> pointers) {
    return cols % kPack<T> == 0 && aligned(pointers);
}

// Calls f with a zero of the arithmetic's element.
template <class F>
void with_element(Arithmetic arithmetic, F f) {
    arithmetic == Arithmetic::f32 ? f(float{}) : f(__nv_bfloat16{});
}

inline unsigned blocks_for(std::int64_t items, std::int64_t items_a_block) {
    const std::int64_t blocks = (items + items_a_block - 1) / items_a_block;
    SP_ASSERT(blocks >= 1 && blocks <= 0x7FFF'FFFF);
    return static_cast<unsigned>(blocks);
}

inline int num_multiprocessors() {
    int device = 0;
    int count = 0;
    check(cudaGetDevice(&device));
    check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
    return count;
}

// For kernels that stride over their grid because only the device knows how many items there are: enough blocks to fill
// it several times, few enough that those without work cost little.
inline unsigned striding_blocks_for(std::int64_t items_max, std::int64_t items_a_block,
                                    std::int64_t blocks_a_multiprocessor = 32) {
    const std::int64_t blocks = (items_max + items_a_block - 1) / items_a_block;
    return static_cast<unsigned>(std::clamp<std::int64_t>(blocks, 1, blocks_a_multiprocessor * num_multiprocessors()));
}

}  // namespace shardproof::gpu
#endif
