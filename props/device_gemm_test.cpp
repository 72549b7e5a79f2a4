#ifdef SHARDPROOF_HAS_GPU
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gpu/kernels/grouped_gemm.hpp"
#include "oracle/model/error.hpp"
#include "props/device_check.hpp"
#include "props/four_ranks.hpp"
#include "props/gen/tiny_model.hpp"

namespace shardproof {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

GroupedGemmChoice choice_of(const props::Case& c, const std::string& name, Arithmetic arithmetic) {
    const Model model = props::make_tiny_model(c);
    const Plan plan = make_plan(model, props::dims_of(c.layout), rule_set_named(c.layout.rules));
    return choose_grouped_gemm(plan, arithmetic, name, 90);
}

bool has_cutlass() { return gpu::grouped_gemms().front().why_not(Arithmetic::bf16, 64, 64, 90) == nullptr; }

TEST(GroupedGemmChoice, IsUnfitBeforeAnythingIsLoaded) {
    props::Case c = props::four_ranks();
    c.model.moe_hidden = 16;
    EXPECT_THAT(choice_of(c, "cutlass", Arithmetic::f32).why_not.value_or(""),
                HasSubstr(has_cutlass() ? "needs bf16" : "no CUTLASS headers"));
    if (!has_cutlass()) return;
    EXPECT_EQ(choice_of(c, "cutlass", Arithmetic::bf16).why_not, std::nullopt);
    EXPECT_THAT(choice_of(c, "cutlass", Arithmetic::bf16).rows, ElementsAre("cutlass"));
    c.model.moe_hidden = 10;
    EXPECT_THAT(choice_of(c, "cutlass", Arithmetic::bf16).why_not.value_or(""), HasSubstr("must be a multiple of 8"));
}

// Of 16 columns each tp rank multiplies by 8; of 24 by 12.
TEST(GroupedGemmChoice, LooksAtTheWidthsThatRanksComputeWith) {
    if (!has_cutlass()) GTEST_SKIP() << "this build has no CUTLASS";
    props::Case c = props::four_ranks();
    c.layout.ep = 1;
    c.model.moe_hidden = 16;
    EXPECT_EQ(choice_of(c, "cutlass", Arithmetic::bf16).why_not, std::nullopt);
    c.model.moe_hidden = 24;
    EXPECT_TRUE(choice_of(c, "cutlass", Arithmetic::bf16).why_not);
    EXPECT_THAT(choice_of(c, "auto", Arithmetic::bf16).rows, ElementsAre("portable"));
}

TEST(GroupedGemmChoice, OfAutoIsAlwaysOne) {
    for (const Arithmetic arithmetic : {Arithmetic::f32, Arithmetic::bf16}) {
        const GroupedGemmChoice choice = choice_of(props::four_ranks(), "auto", arithmetic);
        EXPECT_EQ(choice.why_not, std::nullopt);
        EXPECT_THAT(choice.rows, ElementsAre("portable"));
    }
}

TEST(GroupedGemmChoice, RefusesANameThatNoTableHas) {
    EXPECT_THAT([] { (void)choice_of(props::four_ranks(), "tensor", Arithmetic::bf16); },
                testing::ThrowsMessage<InputError>(HasSubstr("--grouped-gemm=tensor: must be one of auto")));
}

}  // namespace
}  // namespace shardproof
#endif
