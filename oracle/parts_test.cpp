// Each part of the oracle against values worked out by hand or by a plain loop.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "oracle/attention.hpp"
#include "oracle/experts.hpp"
#include "oracle/linear.hpp"
#include "oracle/model/error.hpp"
#include "oracle/norm.hpp"
#include "oracle/rope.hpp"
#include "oracle/router.hpp"
#include "oracle/tiny_model.hpp"
#include "oracle/transformer.hpp"
#include "oracle/weights.hpp"

namespace shardproof::oracle {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pointwise;
using testing::ThrowsMessage;

Matrix random_matrix(Random& random, Index rows, Index cols) {
    std::normal_distribution<double> normal;
    Matrix m(rows, cols);
    for (Index i = 0; i < m.size(); ++i) m.data()[i] = normal(random);
    return m;
}

TEST(Rope, TurnsPairsByPositionTimesThetaPowers) {
    const RopeTable table = rope_table({.theta = 100.0}, 4, 3);
    EXPECT_EQ(table.half, 2);
    EXPECT_THAT(table.cos,
                Pointwise(DoubleNear(1e-15), {1.0, 1.0, std::cos(1.0), std::cos(0.1), std::cos(2.0), std::cos(0.2)}));
    EXPECT_THAT(table.sin,
                Pointwise(DoubleNear(1e-15), {0.0, 0.0, std::sin(1.0), std::sin(0.1), std::sin(2.0), std::sin(0.2)}));
}

TEST(Rope, PairsTheTwoHalvesOfAHead) {
    const RopeTable quarter_turn{2, 1.0, {0.0, 1.0}, {1.0, 0.0}};
    Matrix heads(1, 8);
    heads << 1, 2, 3, 4, 5, 6, 7, 8;
    const std::vector<std::int64_t> position{0};
    const Matrix turned = rotate(heads, position, quarter_turn);
    Matrix want(1, 8);
    want << -3, 2, 1, 4, -7, 6, 5, 8;
    EXPECT_EQ(turned, want);
}

TEST(Rope, PairsNeighboursWhereTheModelDoes) {
    const RopeTable quarter_turn{2, 1.0, {0.0, 1.0}, {1.0, 0.0}, RopePairs::neighbours};
    Matrix heads(1, 8);
    heads << 1, 2, 3, 4, 5, 6, 7, 8;
    const std::vector<std::int64_t> position{0};
    Matrix want(1, 8);
    want << -2, 1, 3, 4, -6, 5, 7, 8;
    EXPECT_EQ(rotate(heads, position, quarter_turn), want);
}

TEST(Rope, LinearDividesEveryFrequency) {
    const RopeSpec spec{.theta = 100.0, .scaling = RopeScaling::linear, .factor = 4.0};
    EXPECT_THAT(rope_frequencies(spec, 4, 9).inverse, Pointwise(DoubleNear(1e-16), {0.25, 0.025}));
}

TEST(Rope, DynamicChangesNothingUntilASequenceIsTooLong) {
    const RopeSpec spec{.theta = 100.0, .scaling = RopeScaling::dynamic, .factor = 2.0, .max_position_embeddings = 8};
    EXPECT_THAT(rope_frequencies(spec, 4, 8).inverse, Pointwise(DoubleNear(1e-16), {1.0, 0.1}));
    // 12 tokens: theta * (2*12/8 - 1)^(4/2) = 400.
    EXPECT_THAT(rope_frequencies(spec, 4, 12).inverse, Pointwise(DoubleNear(1e-16), {1.0, 0.05}));
}

TEST(Rope, YarnInterpolatesSlowDimsAndScalesTheTable) {
    RopeSpec spec{
        .theta = 10000.0, .scaling = RopeScaling::yarn, .factor = 4.0, .original_max_position_embeddings = 64};
    const RopeFrequencies yarn = rope_frequencies(spec, 16, 5);
    EXPECT_DOUBLE_EQ(yarn.attention_factor, 0.1 * std::log(4.0) + 1.0);
    // turning(32) < 0, so the ramp starts at dim 0; turning(1) = 16 ln(64/2pi) / (2 ln 10000) = 2.02, so it ends at 3.
    const std::vector<double> keep{1.0, 2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0, 0.0, 0.0, 0.0};
    for (std::size_t i = 0; i < 8; ++i) {
        const double plain = std::pow(10000.0, -static_cast<double>(i) / 8.0);
        EXPECT_NEAR(yarn.inverse[i], plain * (keep[i] + (1.0 - keep[i]) / 4.0), 1e-16) << i;
    }
    spec.mscale = 2.0;
    spec.mscale_all_dim = 0.5;
    EXPECT_DOUBLE_EQ(rope_frequencies(spec, 16, 5).attention_factor,
                     (0.2 * std::log(4.0) + 1.0) / (0.05 * std::log(4.0) + 1.0));
    spec.attention_factor = 1.25;
    EXPECT_EQ(rope_table(spec, 16, 1).cos.front(), 1.25);
}

TEST(Rope, Llama3KeepsShortWavesAndDividesLongOnes) {
    const RopeSpec spec{.theta = 10000.0,
                        .scaling = RopeScaling::llama3,
                        .factor = 8.0,
                        .original_max_position_embeddings = 100,
                        .low_freq_factor = 1.0,
                        .high_freq_factor = 4.0};
    const std::vector<double> scaled = rope_frequencies(spec, 8, 5).inverse;
    EXPECT_DOUBLE_EQ(scaled[0], 1.0);  // 2pi < 100/4
    const double smooth = (100.0 / (20.0 * std::numbers::pi) - 1.0) / 3.0;  // 25 < 20pi < 100
    EXPECT_DOUBLE_EQ(scaled[1], 0.1 * ((1.0 - smooth) / 8.0 + smooth));
    EXPECT_DOUBLE_EQ(scaled[2], 0.01 / 8.0);  // 200pi > 100
    EXPECT_DOUBLE_EQ(scaled[3], 0.001 / 8.0);
}

TEST(Norm, DividesEachRunByItsRootMeanSquare) {
    Matrix x(1, 4);
    x << 3, 4, 0, 1;
    const std::vector<double> weight{1.0, 2.0};
    const Matrix y = rms_norm(x, weight, 0.5);
    const double first = std::sqrt(13.0);
    EXPECT_NEAR(y(0, 0), 3.0 / first, 1e-15);
    EXPECT_NEAR(y(0, 1), 8.0 / first, 1e-15);
    EXPECT_EQ(y(0, 2), 0.0);
    EXPECT_NEAR(y(0, 3), 2.0, 1e-15);
}

TEST(Attention, OfEqualScoresIsTheMeanOfWhatIsSeen) {
    const Heads spec{.num_heads = 2, .num_kv_heads = 1, .head_dim = 2};
    Batch batch;
    batch.sequences = {Sequence{{0, 0}, 0}, Sequence{}, Sequence{{0, 0, 0}, 0}};
    const TokenLayout tokens = token_layout(batch);
    EXPECT_EQ(tokens.longest, 3);
    EXPECT_THAT(tokens.position, ElementsAre(0, 1, 0, 1, 2));
    EXPECT_THAT(tokens.sequence, ElementsAre(0, 0, 2, 2, 2));
    Matrix v(5, 2);
    v << 1, 10, 3, 30, 100, 5, 200, 6, 600, 7;
    const Matrix out = causal_attention(spec, tokens, Matrix::Ones(5, 4), Matrix::Ones(5, 2), v);
    Matrix want(5, 4);
    want << 1, 10, 1, 10, 2, 20, 2, 20, 100, 5, 100, 5, 150, 5.5, 150, 5.5, 300, 6, 300, 6;
    EXPECT_TRUE(out.isApprox(want, 1e-14)) << out;
    // In chunks of two the third token of a sequence sees itself alone.
    want.row(4) << 600, 7, 600, 7;
    const Matrix in_chunks = causal_attention(spec, tokens, Matrix::Ones(5, 4), Matrix::Ones(5, 2), v, 2);
    EXPECT_TRUE(in_chunks.isApprox(want, 1e-14)) << in_chunks;
}

TEST(Attention, ScoresByScaledProductsOfItsOwnKvHead) {
    const Heads spec{.num_heads = 4, .num_kv_heads = 2, .head_dim = 4};
    Batch batch;
    batch.sequences = {Sequence{{0, 0, 0}, 0}};
    Random random{1};
    const Matrix q = random_matrix(random, 3, 16);
    const Matrix k = random_matrix(random, 3, 8);
    const Matrix v = random_matrix(random, 3, 8);
    const Matrix out = causal_attention(spec, token_layout(batch), q, k, v);
    for (Index head = 0; head < 4; ++head) {
        double total = 0.0;
        RowVector sum = RowVector::Zero(4);
        for (Index j = 0; j < 3; ++j) {
            double score = 0.0;
            for (Index i = 0; i < 4; ++i) score += q(2, head * 4 + i) * k(j, head / 2 * 4 + i);
            total += std::exp(score / 2.0);
            sum += std::exp(score / 2.0) * v.row(j).segment(head / 2 * 4, 4);
        }
        EXPECT_TRUE(out.row(2).segment(head * 4, 4).isApprox(sum / total, 1e-14));
    }
}

TEST(Router, BreaksTiesToTheLowestId) {
    EXPECT_THAT(top_k(std::vector<double>{0.1, 0.3, 0.2, 0.3, 0.3}, 2), ElementsAre(1, 3));
    EXPECT_THAT(top_k(std::vector<double>{0.1, 0.2, 0.5, 0.2}, 2), ElementsAre(2, 1));
    EXPECT_THAT(top_k(std::vector<double>{0.0, 0.0, 0.0}, 3), ElementsAre(0, 1, 2));
}

TEST(Router, GivesSoftmaxOverAllExpertsAndNormsOnlyWhenAsked) {
    const double ln = std::numbers::ln2;
    RouterSpec spec{.num_experts = 3, .top_k = 2};
    std::vector<double> logits{ln * 1, ln * 2, ln * 3, 0.0, 0.0, 0.0};  // 2:4:8 and 1:1:1
    const Routing routing = route(spec, logits);
    EXPECT_THAT(routing.ids, ElementsAre(2, 1, 0, 1));
    EXPECT_THAT(routing.weights, Pointwise(DoubleNear(1e-15), {8.0 / 14, 4.0 / 14, 1.0 / 3, 1.0 / 3}));
    spec.norm_topk = true;
    spec.scale = 2.5;
    logits = {ln * 1, ln * 2, ln * 3};
    EXPECT_THAT(route(spec, logits).weights, Pointwise(DoubleNear(1e-15), {2.5 * 2 / 3, 2.5 / 3}));
    spec = {.num_experts = 2, .top_k = 1, .score = ScoreFunction::sigmoid};
    logits = {0.0, std::log(3.0)};
    EXPECT_THAT(route(spec, logits).weights, Pointwise(DoubleNear(1e-15), {0.75}));
}

// Both sigmoids are 1: scores do not tell these apart, logits do.
TEST(Router, ChoosesByLogitsWhereTheModelDoes) {
    RouterSpec spec{.num_experts = 3, .top_k = 1, .score = ScoreFunction::sigmoid};
    std::vector<double> logits{40.0, 50.0, 0.0};
    EXPECT_THAT(route(spec, logits).ids, ElementsAre(0));
    spec.choose_by = ChooseBy::logits;
    logits = {40.0, 50.0, 0.0};
    const Routing routing = route(spec, logits);
    EXPECT_THAT(routing.ids, ElementsAre(1));
    EXPECT_THAT(routing.weights, ElementsAre(1.0));
}

TEST(Router, SeesWhichGateRowsAreTheSameBytes) {
    const std::vector<float> rows{1, 2, 3, 4, 1, 2, 3, 5, 1, 2};
    const TensorView gate{DType::F32, {5, 2}, std::as_bytes(std::span{rows})};
    const std::vector<std::int64_t> twins = lowest_twins(gate);
    EXPECT_THAT(twins, ElementsAre(0, 1, 0, 3, 0));
    std::vector<double> logits{1, 2, 3, 4, 5};
    tie_twins(twins, logits);
    EXPECT_THAT(logits, ElementsAre(1, 2, 1, 4, 1));
}

// One gate row for all experts: the first k must be chosen, whatever order a product sums in.
TEST(Router, ChoosesTheFirstOfIdenticalExperts) {
    for (std::int64_t num_experts = 2; num_experts < 20; ++num_experts) {
        Random random{static_cast<std::uint64_t>(num_experts)};
        const Matrix row = random_matrix(random, 1, 23);
        std::vector<double> rows;
        for (std::int64_t e = 0; e < num_experts; ++e) rows.insert(rows.end(), row.data(), row.data() + row.size());
        const TensorView gate{DType::F64, {num_experts, 23}, std::as_bytes(std::span{rows})};
        Matrix logits = linear(random_matrix(random, 40, 23), gate);
        const std::span<double> scores{logits.data(), static_cast<std::size_t>(logits.size())};
        tie_twins(lowest_twins(gate), scores);
        const Routing routing = route({.num_experts = num_experts, .top_k = 2}, scores);
        for (std::size_t slot = 0; slot < routing.ids.size(); slot += 2) {
            ASSERT_EQ(routing.ids[slot], 0);
            ASSERT_EQ(routing.ids[slot + 1], 1);
        }
    }
}

// A plain loop over tokens and choices, for both places of the score.
TEST(Experts, SumWeightedSwiGlu) {
    Random random{3};
    ModelConfig config = tiny_config();
    const Checkpoint checkpoint = random_checkpoint(config, {}, random);
    const Weights weights{config, checkpoint};
    const Matrix x = random_matrix(random, 3, config.hidden_size);
    const Routing routing{{1, 5, 5, 0, 7, 1}, {0.25, 0.5, 0.125, 1.0, 2.0, 0.75}};
    for (const ScoreOn score_on : {ScoreOn::output, ScoreOn::input}) {
        config.router.score_on = score_on;
        const Matrix out = experts(config.router, x, routing, [&](std::int64_t e) { return weights.expert(0, e); });
        Matrix want = Matrix::Zero(3, config.hidden_size);
        for (Index slot = 0; slot < 6; ++slot) {
            const double w = routing.weights[static_cast<std::size_t>(slot)];
            const MlpWeights expert = weights.expert(0, routing.ids[static_cast<std::size_t>(slot)]);
            const auto at = [](const TensorView& m, Index r, Index c) {
                return element_as_double(m, r * m.shape[1] + c);
            };
            for (Index f = 0; f < config.moe_intermediate_size; ++f) {
                double gate = 0.0;
                double up = 0.0;
                for (Index d = 0; d < config.hidden_size; ++d) {
                    const double in = x(slot / 2, d) * (score_on == ScoreOn::input ? w : 1.0);
                    gate += at(expert.gate, f, d) * in;
                    up += at(expert.up, f, d) * in;
                }
                const double hidden = gate / (1.0 + std::exp(-gate)) * up * (score_on == ScoreOn::output ? w : 1.0);
                for (Index d = 0; d < config.hidden_size; ++d) want(slot / 2, d) += at(expert.down, d, f) * hidden;
            }
        }
        EXPECT_TRUE(out.isApprox(want, 1e-13));
    }
}

TEST(Linear, WidensBlocksOfALargeMatrixAsOne) {
    Random random{4};
    const Index out = 3000;
    const Index in = 97;  // more than one block
    std::vector<std::byte> bytes;
    std::normal_distribution<float> normal;
    for (Index i = 0; i < out * in; ++i) append_value(DType::BF16, normal(random), bytes);
    const TensorView weight{DType::BF16, {out, in}, bytes};
    ASSERT_LT(rows_per_block(weight), out);
    const Matrix x = random_matrix(random, 2, in);
    EXPECT_TRUE(linear(x, weight).isApprox(x * widen_rows(weight, 0, out).transpose(), 1e-13));
}

TEST(WholeParameter, StacksExpertsByNumberAndKeepsBytes) {
    Random random{3};
    ModelConfig config = tiny_config();
    config.router.num_experts = 12;  // experts.10 sorts before experts.2
    const Checkpoint checkpoint = random_checkpoint(config, {.dtype = DType::BF16}, random);
    const Tensor w2 = whole_parameter(config, checkpoint, "layers.0.moe.experts.w2");
    EXPECT_EQ(w2.dtype, DType::BF16);
    EXPECT_THAT(w2.shape, ElementsAre(12, 16, 12));
    const TensorView tenth = checkpoint.tensor("model.layers.0.mlp.experts.10.down_proj.weight");
    EXPECT_EQ(std::memcmp(w2.bytes.data() + 10 * tenth.bytes.size(), tenth.bytes.data(), tenth.bytes.size()), 0);
    const auto same = [&](const char* parameter, const char* tensor) {
        const Tensor whole = whole_parameter(config, checkpoint, parameter);
        const TensorView want = checkpoint.tensor(tensor);
        EXPECT_EQ(whole.shape, want.shape) << parameter;
        EXPECT_TRUE(std::equal(whole.bytes.begin(), whole.bytes.end(), want.bytes.begin(), want.bytes.end()))
            << parameter;
    };
    same("tok_embeddings.weight", "model.embed_tokens.weight");
    same("lm_head.weight", "lm_head.weight");
    same("layers.0.attention.wk.weight", "model.layers.0.self_attn.k_proj.weight");
    same("layers.0.attention.q_norm.weight", "model.layers.0.self_attn.q_norm.weight");
    same("layers.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight");
    same("layers.0.moe.router.gate.weight", "model.layers.0.mlp.gate.weight");
}

TEST(WholeParameter, TakesLlama4sExpertsOutOfTheirFusedTransposedTensors) {
    Random random{3};
    ModelConfig config = tiny_config();
    make_llama4(config, random);
    config.family = "llama4";
    const Checkpoint checkpoint = random_checkpoint(config, {}, random);
    const std::string block = "language_model.model.layers.0.feed_forward.";
    const TensorView gate_up = checkpoint.tensor(block + "experts.gate_up_proj");  // [8,16,24]
    const TensorView down = checkpoint.tensor(block + "experts.down_proj");  // [8,12,16]
    const Tensor w1 = whole_parameter(config, checkpoint, "layers.0.moe.experts.w1");
    const Tensor w2 = whole_parameter(config, checkpoint, "layers.0.moe.experts.w2");
    const Tensor w3 = whole_parameter(config, checkpoint, "layers.0.moe.experts.w3");
    EXPECT_THAT(w1.shape, ElementsAre(8, 12, 16));
    EXPECT_THAT(w2.shape, ElementsAre(8, 16, 12));
    const auto at = [](const TensorView& t, std::int64_t e, std::int64_t r, std::int64_t c) {
        return element_as_double(t, (e * t.shape[1] + r) * t.shape[2] + c);
    };
    for (std::int64_t e = 0; e < 8; ++e) {
        for (std::int64_t f = 0; f < 12; ++f) {
            for (std::int64_t d = 0; d < 16; ++d) {
                ASSERT_EQ(at(w1.view(), e, f, d), at(gate_up, e, d, f));
                ASSERT_EQ(at(w3.view(), e, f, d), at(gate_up, e, d, 12 + f));
                ASSERT_EQ(at(w2.view(), e, d, f), at(down, e, f, d));
            }
        }
    }
    EXPECT_EQ(whole_parameter(config, checkpoint, "layers.0.moe.shared_experts.w2.weight").shape,
              (Shape{16, config.shared_intermediate_size}));
    EXPECT_THAT([&] { (void)whole_parameter(config, checkpoint, "layers.0.attention.q_norm.weight"); },
                ThrowsMessage<InputError>(HasSubstr("is not one of this model")));
}

TEST(WholeParameter, RefusesNamesTheModelDoesNotHave) {
    Random random{3};
    const ModelConfig config = tiny_config();
    const Checkpoint checkpoint = random_checkpoint(config, {}, random);
    for (const char* name :
         {"layers.1.attention.wq.weight", "layers.0.feed_forward.w1.weight", "layers.x.ffn_norm.weight", "layers.0",
          "layers.0.", "attention.wq.weight", "layers.0.norm.weight", ""}) {
        EXPECT_THAT([&] { (void)whole_parameter(config, checkpoint, name); },
                    ThrowsMessage<InputError>(HasSubstr("is not one of this model")))
            << name;
    }
}

TEST(Weights, RefuseATensorOfAnotherShape) {
    Random random{3};
    ModelConfig config = tiny_config();
    const Checkpoint checkpoint = random_checkpoint(config, {}, random);
    config.hidden_size = 8;
    EXPECT_THAT(([&] { (void)Weights{config, checkpoint}.embeddings(); }),
                ThrowsMessage<InputError>(HasSubstr("model.embed_tokens.weight=[33,16]: shape must be [33,8]")));
}

TEST(Forward, TellsItsProgressAndTakesAnEmptyBatch) {
    Random random{3};
    const ModelConfig config = tiny_config();
    const Checkpoint checkpoint = random_checkpoint(config, {}, random);
    std::vector<std::int64_t> told;
    const Logits logits = forward(config, checkpoint, Batch{}, [&](std::int64_t done, std::int64_t all) {
        EXPECT_EQ(all, 3);
        told.push_back(done);
    });
    EXPECT_THAT(told, ElementsAre(1, 2, 3));
    EXPECT_EQ(logits.rows, 0);
    EXPECT_EQ(logits.cols, 33);
}

}  // namespace
}  // namespace shardproof::oracle
