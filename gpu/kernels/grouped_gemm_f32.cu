// The portable grouped GEMM in f32: fused multiply-adds alone, each sum in ascending k.
#include "gpu/kernels/grouped_gemm_tiles.cuh"

namespace shardproof::gpu {
namespace {

constexpr int kDepthF32 = 16;
constexpr int kPitchF32 = kTile + 4;  // rows of a slice stay aligned to 16 bytes

struct SliceF32 {
    float at[kDepthF32][kPitchF32];  // [k][row]
};

// A thread's share of the slice [64 rows, k..k+15] of a row-major matrix; zero beyond its rows and its width. `whole`:
// width is a multiple of 4, so that a group of four is in or out as one.
struct ShareF32 {
    float4 values[2];
};
template <bool whole>
__device__ ShareF32 fetch_f32(const float* matrix, int num_rows, std::int64_t width, std::int64_t k) {
    ShareF32 share;
    for (int i = 0; i < 2; ++i) {
        const int row = static_cast<int>(threadIdx.x) / 4 + i * 32;
        const std::int64_t at = k + threadIdx.x % 4 * 4;
        const float* from = matrix + row * width + at;
        float4 v = make_float4(0, 0, 0, 0);
        if (row < num_rows) {
            if constexpr (whole) {
                if (at < width) v = *reinterpret_cast<const float4*>(from);
            } else {
                if (at < width) v.x = from[0];
                if (at + 1 < width) v.y = from[1];
                if (at + 2 < width) v.z = from[2];
                if (at + 3 < width) v.w = from[3];
            }
        }
        share.values[i] = v;
    }
    return share;
}
__device__ void put(const ShareF32& share, SliceF32& slice) {
    for (int i = 0; i < 2; ++i) {
        const int row = static_cast<int>(threadIdx.x) / 4 + i * 32;
        const int k = static_cast<int>(threadIdx.x) % 4 * 4;
        slice.at[k][row] = share.values[i].x;
        slice.at[k + 1][row] = share.values[i].y;
        slice.at[k + 2][row] = share.values[i].z;
        slice.at[k + 3][row] = share.values[i].w;
    }
}

// Each thread sums 8 rows by 4 columns, in ascending k.
__device__ void multiply(const SliceF32& a, const SliceF32& b, float (&sums)[8][4]) {
    const int row = static_cast<int>(threadIdx.x) / 16 * 8;
    const int column = static_cast<int>(threadIdx.x) % 16 * 4;
#pragma unroll
    for (int k = 0; k < kDepthF32; ++k) {
        const auto low = *reinterpret_cast<const float4*>(&a.at[k][row]);
        const auto high = *reinterpret_cast<const float4*>(&a.at[k][row + 4]);
        const auto across = *reinterpret_cast<const float4*>(&b.at[k][column]);
        const float down[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
        const float right[4] = {across.x, across.y, across.z, across.w};
#pragma unroll
        for (int i = 0; i < 8; ++i) {
#pragma unroll
            for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(down[i], right[j], sums[i][j]);
        }
    }
}

template <bool whole>
__global__ void __launch_bounds__(kTileThreads) multiply_f32(const __grid_constant__ TiledProblem p) {
    __shared__ SliceF32 a;
    __shared__ SliceF32 b;
    for (std::int64_t idx = blockIdx.x;; idx += gridDim.x) {
        const GemmTile tile = find_tile(p, idx);
        if (tile.expert < 0) return;
        const auto* x = rows_of_x<float>(p, tile);
        const auto* w = rows_of_w<float>(p, tile);
        const int num_columns = columns_of(p, tile);
        float sums[8][4] = {};
        ShareF32 of_x = fetch_f32<whole>(x, tile.num_rows, p.in, 0);
        ShareF32 of_w = fetch_f32<whole>(w, num_columns, p.in, 0);
        for (std::int64_t k = 0; k < p.in; k += kDepthF32) {
            __syncthreads();
            put(of_x, a);
            put(of_w, b);
            __syncthreads();
            of_x = fetch_f32<whole>(x, tile.num_rows, p.in, k + kDepthF32);  // under way while this slice is summed
            of_w = fetch_f32<whole>(w, num_columns, p.in, k + kDepthF32);
            multiply(a, b, sums);
        }
        auto* y = tile_of_y<float>(p, tile);
        const int row = static_cast<int>(threadIdx.x) / 16 * 8;
        const int column = static_cast<int>(threadIdx.x) % 16 * 4;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                if (row + i < tile.num_rows && column + j < num_columns) y[(row + i) * p.out + column + j] = sums[i][j];
            }
        }
    }
}

}  // namespace

void multiply_tiles_f32(const TiledProblem& problem, bool whole, unsigned num_blocks, StreamView stream) {
    const auto kernel = whole ? multiply_f32<true> : multiply_f32<false>;
    kernel<<<num_blocks, kTileThreads, 0, stream.raw()>>>(problem);
    check(cudaGetLastError());
}

}  // namespace shardproof::gpu
