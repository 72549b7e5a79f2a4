// The rows of the grouped GEMM table, one a source.
#pragma once
#include "gpu/kernels/grouped_gemm.hpp"

namespace shardproof::gpu {

[[nodiscard]] const GroupedGemmRow& cutlass_grouped_gemm();
[[nodiscard]] const GroupedGemmRow& portable_grouped_gemm();

}  // namespace shardproof::gpu
