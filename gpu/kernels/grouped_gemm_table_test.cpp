// Which row of the grouped GEMM's table is taken for what.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gpu/kernels/grouped_gemm.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

TEST(GroupedGemmTable, LastRowRunsEverything) {
    const GroupedGemmRow& last = grouped_gemms().back();
    EXPECT_EQ(last.name, "portable");
    for (const std::int64_t width : {0, 1, 7, 8, 4096}) {
        EXPECT_EQ(last.why_not(Arithmetic::f32, width, width, 80), nullptr);
        EXPECT_EQ(last.why_not(Arithmetic::bf16, width, width, 90), nullptr);
    }
}

TEST(GroupedGemmTable, AutoIsTheFirstThatCan) {
    EXPECT_EQ(grouped_gemm_named("auto", Arithmetic::f32, 64, 64, 90).name, "portable");
    EXPECT_EQ(grouped_gemm_named("auto", Arithmetic::bf16, 63, 64, 90).name, "portable");
    EXPECT_EQ(grouped_gemm_named("auto", Arithmetic::bf16, 64, 64, 80).name, "portable");
    for (const GroupedGemmRow& row : grouped_gemms()) {
        if (row.why_not(Arithmetic::bf16, 64, 64, 90) != nullptr) continue;
        EXPECT_EQ(grouped_gemm_named("auto", Arithmetic::bf16, 64, 64, 90).name, row.name);
        break;
    }
}

std::string message(std::string_view name, Arithmetic arithmetic, std::int64_t in, int capability) {
    try {
        return std::string{grouped_gemm_named(name, arithmetic, in, 64, capability).name};
    } catch (const InputError& error) {
        return error.what();
    }
}

TEST(GroupedGemmTable, RejectsUnknownNamesAndWhatARowCannotRun) {
    EXPECT_THAT(message("fast", Arithmetic::f32, 64, 90),
                testing::HasSubstr("--grouped-gemm=fast: must be one of auto, cutlass, portable"));
    const bool is_built = grouped_gemms().front().why_not(Arithmetic::bf16, 64, 64, 90) == nullptr;
    EXPECT_THAT(message("cutlass", Arithmetic::f32, 64, 90), testing::HasSubstr(is_built ? "needs bf16" : "CUTLASS"));
    EXPECT_THAT(message("cutlass", Arithmetic::bf16, 63, 90),
                testing::HasSubstr(is_built ? "in must be a multiple of 8" : "CUTLASS"));
    EXPECT_THAT(message("cutlass", Arithmetic::bf16, 64, 80),
                testing::HasSubstr(is_built ? "needs compute capability 9.0" : "CUTLASS"));
}

}  // namespace
}  // namespace shardproof::gpu
