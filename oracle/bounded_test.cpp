// The error analysis piece by piece: operands moved to the edge of their errors must stay within the result's.
#include "oracle/bounded.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "oracle/bounded_experts.hpp"
#include "oracle/bounded_softmax.hpp"
#include "oracle/experts.hpp"
#include "oracle/linear.hpp"
#include "oracle/norm.hpp"
#include "oracle/tiny_model.hpp"

namespace shardproof::oracle {
namespace {

// The double arithmetic of these tests itself; far below an f32 unit.
constexpr double kSlack = 1e-12;

Bounded random_bounded(Random& random, Index rows, Index cols, double size, double error) {
    std::normal_distribution<double> normal{0.0, size};
    Bounded x{Matrix(rows, cols), Matrix(rows, cols)};
    for (Index i = 0; i < x.value.size(); ++i) {
        x.value.data()[i] = normal(random);
        x.error.data()[i] = error * std::abs(normal(random));
    }
    return x;
}

// Every element at one end of its error.
Matrix at_a_corner(const Bounded& x, Random& random) {
    Matrix moved = x.value;
    for (Index i = 0; i < moved.size(); ++i)
        moved.data()[i] += random() % 2 == 0 ? x.error.data()[i] : -x.error.data()[i];
    return moved;
}

void expect_within(const Matrix& got, const Bounded& want) {
    for (Index i = 0; i < got.size(); ++i) {
        ASSERT_LE(std::abs(got.data()[i] - want.value.data()[i]), want.error.data()[i] + kSlack) << i;
        ASSERT_TRUE(std::isfinite(want.error.data()[i])) << i;
    }
}

TensorView view_of(const std::vector<double>& values, Shape shape) {
    return {DType::F64, std::move(shape), std::as_bytes(std::span{values})};
}

TEST(Roundoff, IsHalfAUnitInTheLastPlace) {
    double f32 = 0.0;
    double bf16 = 0.0;
    for (int i = 0; i < (1 << 17); ++i) {
        const double x = 1.0 + i * 0x1p-17;
        bf16 = std::max(bf16, std::abs(static_cast<double>(round_to_bf16(static_cast<float>(x))) - x) / x);
        const double fine = 1.0 + i * 0x1p-36;
        f32 = std::max(f32, std::abs(static_cast<double>(static_cast<float>(fine)) - fine) / fine);
    }
    EXPECT_LE(bf16, Roundoff{Arithmetic::bf16}.store());
    EXPECT_GT(bf16, 0.99 * Roundoff{Arithmetic::bf16}.store());
    EXPECT_LE(f32, Roundoff::unit());
    EXPECT_GT(f32, 0.99 * Roundoff::unit());
    EXPECT_EQ(Roundoff{Arithmetic::f32}.store(), 0.0);
    EXPECT_EQ(Roundoff{Arithmetic::bf16}.weight(DType::BF16), 0.0);
}

TEST(Bounded, NormCoversItsOperandsErrors) {
    Random random{1};
    const Roundoff roundoff{Arithmetic::f32};
    for (int i = 0; i < 300; ++i) {
        const Index width = between(random, 1, 8);
        const std::vector<double> weight(static_cast<std::size_t>(width), 1.5);
        // Errors up to several times the values: 1/sqrt has no bounded derivative there.
        const Bounded x =
            random_bounded(random, 2, 2 * width, 1.0, std::exp2(static_cast<double>(between(random, -20, 2))));
        const Bounded y = rms_norm(x, view_of(weight, {width}), 1e-6, roundoff);
        for (int corner = 0; corner < 8; ++corner) expect_within(rms_norm(at_a_corner(x, random), weight, 1e-6), y);
    }
}

TEST(Bounded, LinearRotationAndSiluCoverTheirOperandsErrors) {
    Random random{2};
    const Roundoff roundoff{Arithmetic::f32};
    const RopeTable rope = rope_table({}, 4, 3);
    const std::vector<std::int64_t> position{2, 1};
    for (int i = 0; i < 300; ++i) {
        const double error = std::exp2(static_cast<double>(between(random, -20, 2)));
        const Bounded x = random_bounded(random, 2, 8, 2.0, error);
        const Bounded z = random_bounded(random, 2, 8, 1.0, error);
        std::vector<double> weight(24);
        for (double& w : weight) w = static_cast<double>(between(random, -9, 9)) / 4.0;
        const TensorView w = view_of(weight, {3, 8});
        const Bounded y = linear(x, w, roundoff);
        const Bounded turned = rotate(x, position, rope, roundoff);
        const Bounded product = silu_times(x, z, roundoff);
        for (int corner = 0; corner < 8; ++corner) {
            const Matrix moved = at_a_corner(x, random);
            expect_within(linear(moved, w), y);
            expect_within(rotate(moved, position, rope), turned);
            const Matrix silu = moved.unaryExpr([](double g) { return g * sigmoid(g); });
            expect_within((silu.array() * at_a_corner(z, random).array()).matrix(), product);
        }
    }
}

TEST(Bounded, AttentionCoversItsOperandsErrors) {
    Random random{3};
    const Heads spec{.num_heads = 2, .num_kv_heads = 1, .head_dim = 4};
    Batch batch;
    batch.sequences = {Sequence{{0, 0, 0, 0}, 0}, Sequence{{0, 0}, 0}};
    const TokenLayout tokens = token_layout(batch);
    for (int i = 0; i < 300; ++i) {
        const double error = std::exp2(static_cast<double>(between(random, -20, 3)));
        const double size = std::exp2(static_cast<double>(between(random, -2, 4)));
        const Bounded q = random_bounded(random, 6, 8, size, error);
        const Bounded k = random_bounded(random, 6, 4, size, error);
        const Bounded v = random_bounded(random, 6, 4, 1.0, error);
        const Bounded y = causal_attention(spec, tokens, q, k, v, Roundoff{Arithmetic::f32});
        for (int corner = 0; corner < 8; ++corner) {
            expect_within(
                causal_attention(spec, tokens, at_a_corner(q, random), at_a_corner(k, random), at_a_corner(v, random)),
                y);
        }
    }
}

TEST(Bounded, RouterCoversItsLogitsErrors) {
    Random random{4};
    for (int i = 0; i < 2000; ++i) {
        RouterSpec spec{.num_experts = between(random, 1, 6), .top_k = 1};
        spec.top_k = between(random, 1, spec.num_experts);
        spec.score = random() % 2 == 0 ? ScoreFunction::softmax : ScoreFunction::sigmoid;
        spec.norm_topk = random() % 2 == 0;
        const double error = std::exp2(static_cast<double>(between(random, -20, 3)));
        const Bounded logits =
            random_bounded(random, 1, spec.num_experts, std::exp2(static_cast<double>(between(random, -2, 5))), error);
        Matrix scores = logits.value;
        const auto row = [&](Matrix& m) { return std::span<double>{m.data(), static_cast<std::size_t>(m.size())}; };
        scores_of(spec, row(scores));
        const std::vector<std::int64_t> ids = top_k(row(scores), spec.top_k);
        const Roundoff roundoff{Arithmetic::f32};
        const ScoreBounds bounds = bounded_scores(spec, logits, roundoff);
        const Bounded weights = bounded_weights(spec, bounds, ids, roundoff);
        for (int corner = 0; corner < 8; ++corner) {
            Matrix moved = at_a_corner(logits, random);
            scores_of(spec, row(moved));
            const std::vector<double> got = weights_of(spec, row(moved), ids);
            expect_within(Eigen::Map<const Matrix>(got.data(), 1, spec.top_k), weights);
            // Whatever the moved scores prefer must be allowed by the errors alone.
            const std::vector<std::int64_t> other = top_k(row(moved), spec.top_k);
            for (const std::int64_t wrong : other) {
                for (const std::int64_t missed : ids) {
                    if (std::find(other.begin(), other.end(), missed) != other.end()) continue;
                    ASSERT_LE(bounds.scores.value(0, missed) - bounds.scores.value(0, wrong),
                              bounds.scores.error(0, missed) + bounds.scores.error(0, wrong) + kSlack);
                }
            }
        }
    }
}

TEST(Bounded, ExactZerosStayExact) {
    const Roundoff roundoff{Arithmetic::bf16};
    const std::vector<double> weight{0.0, 1.0};
    Matrix x(1, 1);
    x << 3.0;
    const Bounded y = linear(exact(x), view_of(weight, {2, 1}), roundoff);
    EXPECT_EQ(y.error(0, 0), 0.0);
    EXPECT_GT(y.error(0, 1), 0.0);
    Matrix residual(1, 2);
    residual << 5.0, 5.0;
    const Bounded sum = add(residual, y, roundoff);
    EXPECT_EQ(sum.value(0, 0), 5.0);
    EXPECT_EQ(sum.error(0, 0), 0.0);
}

TEST(Bounded, UnderflowIsForgiven) {
    const std::vector<double> weight{1e-30};
    Matrix x(1, 1);
    x << 1e-10;
    const Bounded y = linear(exact(x), view_of(weight, {1, 1}), Roundoff{Arithmetic::f32});
    EXPECT_GT(y.error(0, 0), 1e-40);  // the product is 1e-40: an f32 backend may have 0
    EXPECT_LT(y.error(0, 0), 1e-36);
}

}  // namespace
}  // namespace shardproof::oracle
