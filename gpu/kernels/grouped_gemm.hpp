// Grouped GEMM: each expert's consecutive rows times that expert's matrix. One row of the table an implementation.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "gpu/kernels/matrix.hpp"
#include "gpu/stream.hpp"

namespace shardproof::gpu {

// For each expert e and each product p:  y[p][r, :] = x[r, :] * w[p][e]^T,  begin[e] <= r < begin[e+1].
// x [capacity, in], w[p] [experts, out, in], y[p] [capacity, out], all of one arithmetic and aligned to 16 bytes, f32
// accumulation, rounded once; with in = 0 all zeros. Rows from begin[experts] on are neither read nor written. begin is
// int32 [experts+1] on the device, ascending from 0, begin[experts] <= capacity; the host never reads it.
struct GroupedProduct {
    const void* w = nullptr;
    void* y = nullptr;
};
struct GroupedGemm {
    ConstMatrix x;  // rows = capacity
    std::int64_t num_experts = 0;  // >= 0
    std::int64_t out = 0;
    const std::int32_t* begin = nullptr;
    std::span<const GroupedProduct> products;  // 1 or 2, of equal shape
};

struct GroupedGemmRow {
    std::string_view name;  // "portable", "cutlass"
    std::string_view says;
    // nullptr where it can run this problem on the current device, else why not ("needs bf16", "in must be a multiple
    // of 8", "needs compute capability 9.0").
    const char* (*why_not)(Arithmetic arithmetic, std::int64_t in, std::int64_t out, int compute_capability);
    // Workspace it needs on the current device, aligned to 256 bytes; contents do not matter.
    std::int64_t (*workspace_bytes)(std::int64_t num_experts, int num_products);
    // Asynchronous; launches nothing without experts, rows or columns.
    void (*run)(const GroupedGemm& gemm, void* workspace, StreamView stream);
};
// In order of preference; the last row, "portable", runs everything.
[[nodiscard]] std::span<const GroupedGemmRow> grouped_gemms();
// "auto" is the first that can. Throws InputError: unknown name, or a row that cannot run this, saying why.
[[nodiscard]] const GroupedGemmRow& grouped_gemm_named(std::string_view name, Arithmetic arithmetic, std::int64_t in,
                                                       std::int64_t out, int compute_capability);

}  // namespace shardproof::gpu
