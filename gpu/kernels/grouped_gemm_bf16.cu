// The portable grouped GEMM in bf16: mma.sync, fed by asynchronous copies where rows are aligned.
#include <cuda_bf16.h>

#include "gpu/kernels/grouped_gemm_tiles.cuh"

namespace shardproof::gpu {
namespace {

using Bf16 = __nv_bfloat16;
constexpr int kDepth = 32;
constexpr int kPitch = kDepth + 8;  // eight rows of 16 bytes fall into different banks
constexpr int kStages = 4;

struct alignas(16) Slice {
    Bf16 at[kTile][kPitch];  // [row][k]
};

__device__ unsigned shared_address(const void* pointer) {
    return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// Brings the slice [64 rows, k..k+31] of a row-major matrix; zero beyond its rows and its width. `whole`: width is a
// multiple of 8 and the matrix aligned to 16 bytes; the copy then is asynchronous.
template <bool whole>
__device__ void fetch(const Bf16* matrix, int num_rows, std::int64_t width, std::int64_t k, Slice& slice) {
    if constexpr (whole) {
        for (int i = 0; i < 2; ++i) {
            const int row = static_cast<int>(threadIdx.x) / 4 + i * 32;
            const int column = static_cast<int>(threadIdx.x) % 4 * 8;
            const bool is_there = row < num_rows && k + column < width;
            const Bf16* from = is_there ? matrix + row * width + k + column : matrix;
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(&slice.at[row][column])),
                         "l"(from), "r"(is_there ? 16 : 0)
                         : "memory");
        }
    } else {
        for (int i = static_cast<int>(threadIdx.x); i < kTile * kDepth; i += kTileThreads) {
            const int row = i / kDepth;
            const int column = i % kDepth;
            const bool is_there = row < num_rows && k + column < width;
            slice.at[row][column] = is_there ? matrix[row * width + k + column] : Bf16{};
        }
    }
}
__device__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
__device__ void wait_for_oldest_copies() { asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 2) : "memory"); }

__device__ void load_matrices(unsigned (&to)[4], const Bf16* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ void multiply_add(float (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four warps, each a quarter of the tile: 32 rows by 32 columns, as 2 by 4 products of 16 by 8.
struct Quarter {
    int row = 0;
    int column = 0;
};
__device__ Quarter quarter_of_warp() {
    const int warp = static_cast<int>(threadIdx.x) / 32;
    return {warp / 2 * 32, warp % 2 * 32};
}

__device__ void multiply(const Slice& a, const Slice& b, float (&sums)[2][4][4]) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const Quarter at = quarter_of_warp();
#pragma unroll
    for (int k = 0; k < kDepth; k += 16) {
        unsigned of_a[2][4];
        unsigned of_b[2][4];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            load_matrices(of_a[i], &a.at[at.row + i * 16 + lane % 16][k + lane / 16 * 8]);
            load_matrices(of_b[i], &b.at[at.column + i * 16 + lane / 16 * 8 + lane % 8][k + lane / 8 % 2 * 8]);
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                multiply_add(sums[i][j], of_a[i], of_b[j / 2][j % 2 * 2], of_b[j / 2][j % 2 * 2 + 1]);
            }
        }
    }
}

__device__ void store(const float (&sums)[2][4][4], Bf16* y, std::int64_t pitch, int num_rows, int num_columns) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const Quarter at = quarter_of_warp();
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
#pragma unroll
            for (int v = 0; v < 4; ++v) {
                const int row = at.row + i * 16 + lane / 4 + v / 2 * 8;
                const int column = at.column + j * 8 + lane % 4 * 2 + v % 2;
                if (row < num_rows && column < num_columns)
                    y[row * pitch + column] = __float2bfloat16_rn(sums[i][j][v]);
            }
        }
    }
}

template <bool whole>
__global__ void __launch_bounds__(kTileThreads) multiply_bf16(const __grid_constant__ TiledProblem p) {
    __shared__ Slice a[kStages];
    __shared__ Slice b[kStages];
    const auto num_slices = (p.in + kDepth - 1) / kDepth;
    for (std::int64_t idx = blockIdx.x;; idx += gridDim.x) {
        const GemmTile tile = find_tile(p, idx);
        if (tile.expert < 0) return;
        const auto* x = rows_of_x<Bf16>(p, tile);
        const auto* w = rows_of_w<Bf16>(p, tile);
        const int num_columns = columns_of(p, tile);
        const auto bring = [&](std::int64_t s) {
            if (s < num_slices) {
                fetch<whole>(x, tile.num_rows, p.in, s * kDepth, a[s % kStages]);
                fetch<whole>(w, num_columns, p.in, s * kDepth, b[s % kStages]);
            }
            commit_copies();  // an empty group too: the count of groups in flight stays the same
        };
        float sums[2][4][4] = {};
        __syncthreads();  // the slices of the tile before are no longer read
        for (int s = 0; s < kStages - 1; ++s) bring(s);
        for (std::int64_t s = 0; s < num_slices; ++s) {
            wait_for_oldest_copies();
            __syncthreads();  // slice s is here for all, and all are done with slice s-1, whose place is filled next
            bring(s + kStages - 1);
            multiply(a[s % kStages], b[s % kStages], sums);
        }
        store(sums, tile_of_y<Bf16>(p, tile), p.out, tile.num_rows, num_columns);
    }
}

}  // namespace

void multiply_tiles_bf16(const TiledProblem& problem, bool whole, unsigned num_blocks, StreamView stream) {
    const auto kernel = whole ? multiply_bf16<true> : multiply_bf16<false>;
    kernel<<<num_blocks, kTileThreads, 0, stream.raw()>>>(problem);
    check(cudaGetLastError());
}

}  // namespace shardproof::gpu
