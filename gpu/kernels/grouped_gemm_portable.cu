// The grouped GEMM that runs everything: any widths, any group sizes, f32 by fused multiply-adds alone, bf16 by
// mma.sync. A persistent grid; each block finds its tiles in `begin`, so the host need not know it.
#include <algorithm>

#include "gpu/kernels/device_math.cuh"
#include "gpu/kernels/grouped_gemm_rows.hpp"
#include "gpu/kernels/grouped_gemm_tiles.cuh"

namespace shardproof::gpu {
namespace {

// As many blocks as can be busy, or as there can be tiles: each expert has at most one that is not full.
unsigned num_blocks(const GroupedGemm& gemm) {
    const std::int64_t down = gemm.x.rows / kTile + std::min(gemm.num_experts, gemm.x.rows);
    const std::int64_t across = (gemm.out + kTile - 1) / kTile * static_cast<std::int64_t>(gemm.products.size());
    const std::int64_t busy = std::int64_t{num_multiprocessors()} * 8;
    return static_cast<unsigned>(down > busy / across ? busy : down * across);
}

void run(const GroupedGemm& gemm, void*, StreamView stream) {
    SP_ASSERT(gemm.products.size() == 1 || gemm.products.size() == 2);
    if (gemm.num_experts == 0 || gemm.x.rows == 0 || gemm.out == 0) return;
    TiledProblem p{.x = gemm.x.data,
                   .begin = gemm.begin,
                   .in = gemm.x.cols,
                   .out = gemm.out,
                   .num_experts = gemm.num_experts,
                   .num_products = static_cast<int>(gemm.products.size())};
    bool whole = gemm.x.cols * element_bytes(gemm.x.arithmetic) % kPackBytes == 0 && aligned({p.x});
    for (std::size_t i = 0; i < gemm.products.size(); ++i) {
        p.w[i] = gemm.products[i].w;
        p.y[i] = gemm.products[i].y;
        whole = whole && aligned({p.w[i]});
    }
    if (gemm.x.arithmetic == Arithmetic::f32) {
        multiply_tiles_f32(p, whole, num_blocks(gemm), stream);
    } else {
        multiply_tiles_bf16(p, whole, num_blocks(gemm), stream);
    }
}

constexpr GroupedGemmRow kRow{
    .name = "portable",
    .says = "f32 by multiply-adds, bf16 by mma.sync; any widths",
    .why_not = [](Arithmetic, std::int64_t, std::int64_t, int) -> const char* { return nullptr; },
    .workspace_bytes = [](std::int64_t, int) -> std::int64_t { return 0; },
    .run = run};

}  // namespace

const GroupedGemmRow& portable_grouped_gemm() { return kRow; }

}  // namespace shardproof::gpu
