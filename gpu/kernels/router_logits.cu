// The router's matrix product. Whichever kernel runs, an element is one sum over d in ascending steps, padded with
// zeros at the end: it depends on its row of x and its row of gate alone, not on where these stand.
#include "gpu/kernels/device_math.cuh"
#include "gpu/kernels/router.cuh"

namespace shardproof::gpu {
namespace {

// x [n, depth], gate [num_experts, depth], logits [n, num_experts].
template <class T>
struct Product {
    const T* x;
    const T* gate;
    float* logits;
    std::int64_t n;
    std::int64_t num_experts;
    std::int64_t depth;
};

// ---- bf16 on tensor cores: tiles of x and gate go through shared memory, several steps of d ahead of the arithmetic

template <int rows, int columns, int depth, int warp_rows, int warp_columns>
struct Tiling {
    static constexpr int kRows = rows;         // of a block
    static constexpr int kColumns = columns;
    static constexpr int kDepth = depth;       // of d, a step
    static constexpr int kWarpRows = warp_rows;
    static constexpr int kWarpColumns = warp_columns;
    static constexpr int kStages = 4;
    static constexpr int kThreads = rows / warp_rows * (columns / warp_columns) * kWarp;
    static constexpr int kStride = depth + 8;  // of a row in shared memory: eight rows' 16 bytes lie in different banks
    static constexpr int kStageSize = (rows + columns) * kStride;
    static constexpr int kSharedBytes = kStages * kStageSize * 2;
};
using Throughput = Tiling<64, 128, 64, 32, 32>;
using Latency = Tiling<16, 32, 128, 16, 16>;  // for few rows: more blocks and fewer steps

// 16 bytes from global to shared memory, complete after wait_for_stages; zeros where not `inside`.
__device__ void copy_async(__nv_bfloat16* to, const __nv_bfloat16* from, bool inside) {
    const auto shared = static_cast<unsigned>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(from), "r"(inside ? 16 : 0)
                 : "memory");
}
__device__ void close_stage() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kInFlight>
__device__ void wait_for_stages() {
    asm volatile("cp.async.wait_group %0;" ::"n"(kInFlight) : "memory");
}

// Four 8x8 matrices, each lane giving the address of one row of one of them.
__device__ void load_matrices(unsigned (&to)[4], const __nv_bfloat16* from) {
    const auto shared = static_cast<unsigned>(__cvta_generic_to_shared(from));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared)
                 : "memory");
}
__device__ void multiply_add(float (&sum)[4], const unsigned (&a)[4], unsigned b_low, unsigned b_high) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b_low), "r"(b_high));
}

// Rows first .. first + kRows of a matrix [rows, depth], kDepth columns from d on.
template <class Tile, int kRows>
__device__ void load_tile(__nv_bfloat16* to, const __nv_bfloat16* from, std::int64_t first, std::int64_t rows,
                          std::int64_t d, std::int64_t depth) {
    constexpr int kPacks = Tile::kDepth / kPack<__nv_bfloat16>;
    static_assert(kRows * kPacks % Tile::kThreads == 0);
#pragma unroll
    for (int j = 0; j < kRows * kPacks / Tile::kThreads; ++j) {
        const int i = j * Tile::kThreads + static_cast<int>(threadIdx.x);
        const int row = i / kPacks;
        const int column = i % kPacks * kPack<__nv_bfloat16>;
        const bool inside = first + row < rows && d + column < depth;
        copy_async(to + row * Tile::kStride + column, inside ? from + (first + row) * depth + d + column : from,
                   inside);
    }
}

template <class Tile>
__device__ void load_stage(const Product<__nv_bfloat16>& p, __nv_bfloat16* stages, std::int64_t step) {
    __nv_bfloat16* stage = stages + step % Tile::kStages * Tile::kStageSize;
    const std::int64_t d = step * Tile::kDepth;
    load_tile<Tile, Tile::kRows>(stage, p.x, blockIdx.x * static_cast<std::int64_t>(Tile::kRows), p.n, d, p.depth);
    load_tile<Tile, Tile::kColumns>(stage + Tile::kRows * Tile::kStride, p.gate,
                                    blockIdx.y * static_cast<std::int64_t>(Tile::kColumns), p.num_experts, d, p.depth);
}

// A warp's sums: tiles of 16 rows and 8 columns.
template <class Tile>
using Sums = float[Tile::kWarpRows / 16][Tile::kWarpColumns / 8][4];

template <class Tile>
__device__ void multiply_stage(Sums<Tile>& sums, const __nv_bfloat16* x, const __nv_bfloat16* gate) {
    const int lane = static_cast<int>(threadIdx.x % kWarp);
    // Where the lane's row of its 8x8 matrix lies: of x by (row, d), of gate by (d, row).
    x += lane % 16 * Tile::kStride + lane / 16 * 8;
    gate += (lane / 16 * 8 + lane % 8) * Tile::kStride + lane / 8 % 2 * 8;
#pragma unroll
    for (int d = 0; d < Tile::kDepth; d += 16) {
        unsigned a[Tile::kWarpRows / 16][4];
#pragma unroll
        for (int i = 0; i < Tile::kWarpRows / 16; ++i) load_matrices(a[i], x + i * 16 * Tile::kStride + d);
#pragma unroll
        for (int j = 0; j < Tile::kWarpColumns / 16; ++j) {
            unsigned b[4];
            load_matrices(b, gate + j * 16 * Tile::kStride + d);
#pragma unroll
            for (int i = 0; i < Tile::kWarpRows / 16; ++i) {
                multiply_add(sums[i][2 * j], a[i], b[0], b[1]);
                multiply_add(sums[i][2 * j + 1], a[i], b[2], b[3]);
            }
        }
    }
}

template <class Tile>
__device__ void store_sums(const Product<__nv_bfloat16>& p, const Sums<Tile>& sums, std::int64_t row,
                           std::int64_t column) {
    const int lane = static_cast<int>(threadIdx.x % kWarp);
#pragma unroll
    for (int i = 0; i < Tile::kWarpRows / 16; ++i) {
#pragma unroll
        for (int j = 0; j < Tile::kWarpColumns / 8; ++j) {
#pragma unroll
            for (int c = 0; c < 4; ++c) {
                const std::int64_t r = row + i * 16 + c / 2 * 8 + lane / 4;
                const std::int64_t e = column + j * 8 + lane % 4 * 2 + c % 2;
                if (r < p.n && e < p.num_experts) p.logits[r * p.num_experts + e] = sums[i][j][c];
            }
        }
    }
}

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads) tensor_core_logits(Product<__nv_bfloat16> p) {
    extern __shared__ __align__(16) __nv_bfloat16 stages[];
    constexpr int kWarpsAcross = Tile::kColumns / Tile::kWarpColumns;
    const int warp = static_cast<int>(threadIdx.x / kWarp);
    const int row = warp / kWarpsAcross * Tile::kWarpRows;
    const int column = warp % kWarpsAcross * Tile::kWarpColumns;
    const std::int64_t steps = (p.depth + Tile::kDepth - 1) / Tile::kDepth;

    Sums<Tile> sums = {};
    for (int ahead = 0; ahead < Tile::kStages - 1; ++ahead) {
        if (ahead < steps) load_stage<Tile>(p, stages, ahead);
        close_stage();
    }
    for (std::int64_t step = 0; step < steps; ++step) {
        wait_for_stages<Tile::kStages - 2>();
        __syncthreads();  // this step's stage is there for all, and the one loaded next is no longer read
        const std::int64_t next = step + Tile::kStages - 1;
        if (next < steps) load_stage<Tile>(p, stages, next);
        close_stage();
        const __nv_bfloat16* stage = stages + step % Tile::kStages * Tile::kStageSize;
        multiply_stage<Tile>(sums, stage + row * Tile::kStride, stage + (Tile::kRows + column) * Tile::kStride);
    }
    store_sums<Tile>(p, sums, blockIdx.x * static_cast<std::int64_t>(Tile::kRows) + row,
                     blockIdx.y * static_cast<std::int64_t>(Tile::kColumns) + column);
}

template <class Tile>
void launch_tensor_cores(const Product<__nv_bfloat16>& p, StreamView stream) {
    check(cudaFuncSetAttribute(tensor_core_logits<Tile>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               Tile::kSharedBytes));
    const dim3 grid{blocks_for(p.n, Tile::kRows), blocks_for(p.num_experts, Tile::kColumns)};
    tensor_core_logits<Tile><<<grid, Tile::kThreads, Tile::kSharedBytes, stream.raw()>>>(p);
    check(cudaGetLastError());
}

void launch_tensor_cores(const Product<__nv_bfloat16>& p, StreamView stream) {
    const std::int64_t blocks = (p.n + Throughput::kRows - 1) / Throughput::kRows *
                                ((p.num_experts + Throughput::kColumns - 1) / Throughput::kColumns);
    constexpr std::int64_t kIdleShare = 8;  // below this share of the device, small tiles are faster
    blocks* kIdleShare >= num_multiprocessors() ? launch_tensor_cores<Throughput>(p, stream)
                                                : launch_tensor_cores<Latency>(p, stream);
}

// ---- f32, and bf16 of any width, by fused multiply-adds: 4 x 4 sums a thread

constexpr int kSide = 64;  // rows and columns of a block
constexpr int kStep = 32;  // of d
constexpr int kThreadsAcross = 16;
constexpr int kThreads = kThreadsAcross * kThreadsAcross;
constexpr int kEach = kSide / kThreadsAcross;
constexpr int kStride = kStep + 4;  // of a row in shared memory: 16-byte reads of eight rows meet no bank twice

template <class T>
__device__ void load_widened(float (&to)[kSide][kStride], const T* from, std::int64_t first, std::int64_t rows,
                             std::int64_t d, std::int64_t depth) {
#pragma unroll
    for (int j = 0; j < kSide * kStep / kThreads; ++j) {
        const int row = (j * kThreads + static_cast<int>(threadIdx.x)) / kStep;
        const int column = static_cast<int>(threadIdx.x) % kStep;
        const bool inside = first + row < rows && d + column < depth;
        to[row][column] = inside ? widened(from[(first + row) * depth + d + column]) : 0.0F;
    }
}

template <class T>
__global__ void __launch_bounds__(kThreads) fused_multiply_add_logits(Product<T> p) {
    __shared__ __align__(16) float x[kSide][kStride];
    __shared__ __align__(16) float gate[kSide][kStride];
    const int across = static_cast<int>(threadIdx.x) % kThreadsAcross;
    const int down = static_cast<int>(threadIdx.x) / kThreadsAcross;
    const std::int64_t first_row = blockIdx.x * static_cast<std::int64_t>(kSide);
    const std::int64_t first_column = blockIdx.y * static_cast<std::int64_t>(kSide);
    float sums[kEach][kEach] = {};
    for (std::int64_t d = 0; d < p.depth; d += kStep) {
        load_widened(x, p.x, first_row, p.n, d, p.depth);
        load_widened(gate, p.gate, first_column, p.num_experts, d, p.depth);
        __syncthreads();
#pragma unroll
        for (int k = 0; k < kStep; k += 4) {
            Pack<float, 4> a[kEach];
            Pack<float, 4> b[kEach];
#pragma unroll
            for (int i = 0; i < kEach; ++i) {
                a[i] = load_pack<4>(&x[i * kThreadsAcross + down][k]);
                b[i] = load_pack<4>(&gate[i * kThreadsAcross + across][k]);
            }
#pragma unroll
            for (int step = 0; step < 4; ++step) {
#pragma unroll
                for (int i = 0; i < kEach; ++i) {
#pragma unroll
                    for (int j = 0; j < kEach; ++j) sums[i][j] = fmaf(a[i].at[step], b[j].at[step], sums[i][j]);
                }
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < kEach * kEach; ++i) {
        const std::int64_t r = first_row + i / kEach * kThreadsAcross + down;
        const std::int64_t e = first_column + i % kEach * kThreadsAcross + across;
        if (r < p.n && e < p.num_experts) p.logits[r * p.num_experts + e] = sums[i / kEach][i % kEach];
    }
}

template <class T>
void launch_multiply_adds(const Product<T>& p, StreamView stream) {
    const dim3 grid{blocks_for(p.n, kSide), blocks_for(p.num_experts, kSide)};
    fused_multiply_add_logits<<<grid, kThreads, 0, stream.raw()>>>(p);
    check(cudaGetLastError());
}

}  // namespace

void router_logits(ConstMatrix x, ConstMatrix gate, float* logits, StreamView stream) {
    SP_ASSERT(x.cols == gate.cols && x.arithmetic == gate.arithmetic);
    if (x.rows == 0 || gate.rows == 0) return;
    with_element(x.arithmetic, [&](auto zero) {
        using T = decltype(zero);
        const Product<T> p{
            static_cast<const T*>(x.data), static_cast<const T*>(gate.data), logits, x.rows, gate.rows, x.cols};
        if constexpr (sizeof(T) == 2) {
            if (packs_fit<T>(x.cols, {x.data, gate.data})) return launch_tensor_cores(p, stream);
        }
        launch_multiply_adds(p, stream);
    });
}

}  // namespace shardproof::gpu
