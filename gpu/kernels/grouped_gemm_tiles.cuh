// The tiles of the portable grouped GEMM, as its kernels find them in `begin`; and those kernels, one a source. For .cu
// files only.
#pragma once
#ifdef __CUDACC__
#include <cstdint>

#include "gpu/stream.hpp"

namespace shardproof::gpu {

constexpr int kTile = 64;  // rows and columns of one tile of y
constexpr int kTileThreads = 128;

struct TiledProblem {
    const void* x = nullptr;
    const void* w[2] = {};
    void* y[2] = {};
    const std::int32_t* begin = nullptr;
    std::int64_t in = 0;
    std::int64_t out = 0;
    std::int64_t num_experts = 0;
    int num_products = 0;
};

struct GemmTile {
    std::int64_t expert = -1;  // -1: there are no more
    int product = 0;
    std::int64_t row = 0;  // first row, of x and y
    int num_rows = 0;
    std::int64_t column = 0;  // first column of y
};

// Tiles are counted expert by expert, inside each by (product, column, row): blocks that run together share a slice of
// w. The same answer in all lanes; all 32 take part.
__device__ inline GemmTile find_tile(const TiledProblem& p, std::int64_t idx) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const std::int64_t columns = (p.out + kTile - 1) / kTile;
    for (std::int64_t base = 0; base < p.num_experts; base += 32) {
        const std::int64_t e = base + lane;
        const std::int64_t first = e < p.num_experts ? p.begin[e] : 0;
        const std::int64_t end = e < p.num_experts ? p.begin[e + 1] : 0;
        const std::int64_t tiles = (end - first + kTile - 1) / kTile * columns * p.num_products;
        std::int64_t upto = tiles;
        for (int step = 1; step < 32; step *= 2) {
            const std::int64_t below = __shfl_up_sync(0xffffffffU, upto, step);
            if (lane >= step) upto += below;
        }
        const unsigned past = __ballot_sync(0xffffffffU, idx < upto);
        if (past == 0) {
            idx -= __shfl_sync(0xffffffffU, upto, 31);
            continue;
        }
        const int found = __ffs(static_cast<int>(past)) - 1;
        const std::int64_t local = __shfl_sync(0xffffffffU, idx - (upto - tiles), found);
        const std::int64_t from = __shfl_sync(0xffffffffU, first, found);
        const std::int64_t to = __shfl_sync(0xffffffffU, end, found);
        const std::int64_t down = (to - from + kTile - 1) / kTile;
        const std::int64_t row = from + local % down * kTile;
        return {.expert = base + found,
                .product = static_cast<int>(local / down / columns),
                .row = row,
                .num_rows = static_cast<int>(to - row < kTile ? to - row : kTile),
                .column = local / down % columns * kTile};
    }
    return {};
}

template <class Element>
__device__ const Element* rows_of_x(const TiledProblem& p, const GemmTile& tile) {
    return static_cast<const Element*>(p.x) + tile.row * p.in;
}
template <class Element>
__device__ const Element* rows_of_w(const TiledProblem& p, const GemmTile& tile) {
    return static_cast<const Element*>(tile.product == 0 ? p.w[0] : p.w[1]) +
           (tile.expert * p.out + tile.column) * p.in;
}
template <class Element>
__device__ Element* tile_of_y(const TiledProblem& p, const GemmTile& tile) {
    return static_cast<Element*>(tile.product == 0 ? p.y[0] : p.y[1]) + tile.row * p.out + tile.column;
}
__device__ inline int columns_of(const TiledProblem& p, const GemmTile& tile) {
    return static_cast<int>(p.out - tile.column < kTile ? p.out - tile.column : kTile);
}

// `whole`: in * element bytes is a multiple of 16 and so are the addresses of x and w.
void multiply_tiles_f32(const TiledProblem& problem, bool whole, unsigned num_blocks, StreamView stream);
void multiply_tiles_bf16(const TiledProblem& problem, bool whole, unsigned num_blocks, StreamView stream);

}  // namespace shardproof::gpu
#endif
