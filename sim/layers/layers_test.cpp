#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "sim/layers/attention.hpp"
#include "sim/layers/experts.hpp"
#include "sim/layers/ops.hpp"
#include "sim/layers/rope.hpp"
#include "sim/layers/router.hpp"
#include "sim/prng.hpp"

namespace shardproof::sim {
namespace {

using testing::ElementsAre;
using testing::FloatNear;
using testing::Pointwise;

std::vector<float> random_values(std::size_t count, std::uint64_t seed) {
    Prng prng{seed};
    std::vector<float> values(count);
    for (float& value : values) value = static_cast<float>(prng.below(2001)) / 1000.0F - 1.0F;
    return values;
}

// Shapes around the tiles of two rows and three outputs and the sixteen lanes: no element may depend on the others.
TEST(Ops, LinearHasTheBitsOfItsPortableForm) {
    for (const std::int64_t in : {1, 15, 16, 17, 40, 64, 100}) {
        for (std::int64_t n = 0; n <= 5; ++n) {
            for (std::int64_t out = 1; out <= 7; ++out) {
                const std::vector<float> x = random_values(static_cast<std::size_t>(n * in), 3);
                const std::vector<float> w = random_values(static_cast<std::size_t>(out * in), 4);
                std::vector<float> y(static_cast<std::size_t>(n * out));
                std::vector<float> portable(y.size());
                linear(x.data(), n, in, w.data(), out, y.data());
                portable_linear(x.data(), n, in, w.data(), out, portable.data());
                EXPECT_EQ(y, portable) << "in=" << in << " n=" << n << " out=" << out;
            }
        }
    }
}

TEST(Ops, LinearIsTheMatrixProductForEveryReductionLength) {
    for (std::int64_t in = 1; in <= 50; ++in) {
        const std::vector<float> x = random_values(static_cast<std::size_t>(3 * in), 1);
        const std::vector<float> w = random_values(static_cast<std::size_t>(5 * in), 2);
        std::vector<float> y(15);
        linear(x.data(), 3, in, w.data(), 5, y.data());
        for (std::int64_t t = 0; t < 3; ++t) {
            for (std::int64_t o = 0; o < 5; ++o) {
                double want = 0;
                for (std::int64_t i = 0; i < in; ++i)
                    want += static_cast<double>(x[static_cast<std::size_t>(t * in + i)]) *
                            static_cast<double>(w[static_cast<std::size_t>(o * in + i)]);
                EXPECT_NEAR(y[static_cast<std::size_t>(t * 5 + o)], want, 1e-5) << "in=" << in;
            }
        }
    }
}

TEST(Ops, ARowOfLinearDoesNotDependOnTheBatchItStandsIn) {
    const std::vector<float> x = random_values(7 * 33, 3);
    const std::vector<float> w = random_values(11 * 33, 4);
    std::vector<float> together(7 * 11);
    linear(x.data(), 7, 33, w.data(), 11, together.data());
    for (std::int64_t t = 0; t < 7; ++t) {
        std::vector<float> alone(11);
        linear(x.data() + t * 33, 1, 33, w.data(), 11, alone.data());
        EXPECT_EQ(alone, std::vector<float>(together.begin() + t * 11, together.begin() + (t + 1) * 11));
    }
}

TEST(Ops, RmsNormDividesByTheRootMeanSquareOfItsGroup) {
    const Rows x{.cols = 4, .values = {3.0F, 4.0F, 0.0F, 2.0F}};
    const Weight w{.shape = {2}, .values = {1.0F, 10.0F}};
    const Rows y = rms_norm(x, w, 0.0, Arithmetic::f32);
    const float first = std::sqrt(12.5F);
    const float second = std::sqrt(2.0F);  // NOLINT(modernize-use-std-numbers): a mean square
    EXPECT_THAT(y.values, Pointwise(FloatNear(1e-5F), {3.0F / first, 40.0F / first, 0.0F, 20.0F / second}));
}

TEST(Ops, Bf16ArithmeticRoundsWhatItProduces) {
    Rows a{.cols = 1, .values = {1.0F}};
    const Rows b{.cols = 1, .values = {0.001F}};
    add(a, b, Arithmetic::bf16);
    EXPECT_EQ(a.values[0], 1.0F);  // half a unit in the last place of bf16 at 1 is 2^-8
}

TEST(Rope, PositionZeroChangesNothingAndPairsRotateByTheirFrequency) {
    RopeSpec rope;
    rope.theta = 100.0;
    const RopeTable table = make_rope_table(rope, 4, {0, 3}, 4);
    Rows x{.cols = 4, .values = {1.0F, 2.0F, 3.0F, 4.0F, 1.0F, 2.0F, 3.0F, 4.0F}};
    apply_rope(x, 4, table, Arithmetic::f32);
    EXPECT_THAT(slice_rows(x, 0, 1).values, ElementsAre(1.0F, 2.0F, 3.0F, 4.0F));
    // Frequencies 1 and 100^-0.5; the first half of a head pairs with the second.
    const auto rotated = [](double a, double b, double angle) { return a * std::cos(angle) - b * std::sin(angle); };
    EXPECT_THAT(
        slice_rows(x, 1, 2).values,
        Pointwise(FloatNear(1e-5F), {static_cast<float>(rotated(1, 3, 3.0)), static_cast<float>(rotated(2, 4, 0.3)),
                                     static_cast<float>(3 * std::cos(3.0) + 1 * std::sin(3.0)),
                                     static_cast<float>(4 * std::cos(0.3) + 2 * std::sin(0.3))}));
    rope.pairs = RopePairs::neighbours;
    Rows pairs{.cols = 4, .values = {1.0F, 2.0F, 3.0F, 4.0F}};
    apply_rope(pairs, 4, make_rope_table(rope, 4, {3}, 4), Arithmetic::f32);
    EXPECT_THAT(pairs.values, Pointwise(FloatNear(1e-5F), {static_cast<float>(rotated(1, 2, 3.0)),
                                                           static_cast<float>(2 * std::cos(3.0) + 1 * std::sin(3.0)),
                                                           static_cast<float>(rotated(3, 4, 0.3)),
                                                           static_cast<float>(4 * std::cos(0.3) + 3 * std::sin(0.3))}));
}

TEST(Attention, ATokenSeesItsOwnSequenceUpToItself) {
    // One head of two dims, all scores equal: the output is the mean of the values seen.
    const Rows zero{.cols = 2, .values = std::vector<float>(8)};
    const Rows v{.cols = 2, .values = {1, 10, 3, 30, 5, 50, 100, 1000}};
    const Rows out = causal_attention(zero, zero, v, 2, {{0, 3}, {3, 4}}, Arithmetic::f32);
    EXPECT_THAT(out.values, Pointwise(FloatNear(1e-4F), {1, 10, 2, 20, 3, 30, 100, 1000}));
    const Rows in_chunks = causal_attention(zero, zero, v, 2, {{0, 3}, {3, 4}}, Arithmetic::f32, 2);
    EXPECT_THAT(in_chunks.values, Pointwise(FloatNear(1e-4F), {1, 10, 2, 20, 5, 50, 100, 1000}));
}

TEST(Attention, QueryHeadsReadTheKvHeadOfTheirGroup) {
    // Four query heads over two kv heads: heads 0, 1 read kv 0, heads 2, 3 read kv 1.
    const Rows q{.cols = 4, .values = {0, 0, 0, 0}};
    const Rows k{.cols = 2, .values = {0, 0}};
    const Rows v{.cols = 2, .values = {7, 9}};
    EXPECT_THAT(causal_attention(q, k, v, 1, {{0, 1}}, Arithmetic::f32).values, ElementsAre(7, 7, 9, 9));
}

RouterSpec router_of(std::int64_t experts, std::int64_t k, bool norm) {
    RouterSpec router;
    router.num_experts = experts;
    router.top_k = k;
    router.norm_topk = norm;
    return router;
}

TEST(Router, TiesFallToTheLowestIdAndTheBestComesFirst) {
    const Rows x{.cols = 1, .values = {1.0F}};
    const Weight gate{.shape = {5, 1}, .values = {0.0F, 2.0F, 1.0F, 2.0F, 1.0F}};
    const Routing routing = route(router_of(5, 3, false), x, gate);
    EXPECT_THAT(routing.expert_ids, ElementsAre(ExpertId{1}, ExpertId{3}, ExpertId{2}));
    EXPECT_EQ(routing.weights[0], routing.weights[1]);
}

TEST(Router, ChoosesByLogitsWhereTheModelDoes) {
    const Rows x{.cols = 1, .values = {1.0F}};
    const Weight gate{.shape = {3, 1}, .values = {20.0F, 30.0F, 0.0F}};  // sigmoids that round to 1
    RouterSpec router = router_of(3, 1, false);
    router.score = ScoreFunction::sigmoid;
    EXPECT_THAT(route(router, x, gate).expert_ids, ElementsAre(ExpertId{0}));
    router.choose_by = ChooseBy::logits;
    EXPECT_THAT(route(router, x, gate).expert_ids, ElementsAre(ExpertId{1}));
    EXPECT_THAT(route(router, x, gate).weights, ElementsAre(1.0F));
}

TEST(Router, NormMakesTheChosenWeightsSumToTheScale) {
    const Rows x{.cols = 2, .values = random_values(8, 5)};
    const Weight gate{.shape = {6, 2}, .values = random_values(12, 6)};
    RouterSpec router = router_of(6, 4, true);
    router.scale = 2.5;
    const Routing routing = route(router, x, gate);
    for (std::size_t t = 0; t < 4; ++t) {
        float sum = 0;
        for (std::size_t k = 0; k < 4; ++k) sum += routing.weights[t * 4 + k];
        EXPECT_NEAR(sum, 2.5F, 1e-5);
    }
}

TEST(Router, EveryExpertChosenWhenKIsE) {
    const Rows x{.cols = 1, .values = {-1.0F}};
    const Weight gate{.shape = {4, 1}, .values = {0.1F, -0.3F, 0.2F, -0.4F}};
    const Routing routing = route(router_of(4, 4, true), x, gate);
    EXPECT_THAT(routing.expert_ids, ElementsAre(ExpertId{3}, ExpertId{1}, ExpertId{0}, ExpertId{2}));
}

TEST(Experts, EachRowGoesThroughItsOwnExpertAndAnEmptyExpertTakesNone) {
    // Hidden 1, width 1: w2 * silu(w1 x) * (w3 x), experts that scale by 1, (none), 100.
    const ExpertWeights weights{.w1 = {.shape = {3, 1, 1}, .values = {1, 1, 1}},
                                .w2 = {.shape = {3, 1, 1}, .values = {1, 10, 100}},
                                .w3 = {.shape = {3, 1, 1}, .values = {1, 1, 1}}};
    const Rows x{.cols = 1, .values = {2.0F, 2.0F}};
    const Rows out = run_experts(weights, x, {1, 0, 1}, Arithmetic::f32);
    const float silu = 2.0F / (1.0F + std::exp(-2.0F));
    EXPECT_THAT(out.values, Pointwise(FloatNear(1e-3F), {silu * 2.0F, silu * 200.0F}));
}

}  // namespace
}  // namespace shardproof::sim
