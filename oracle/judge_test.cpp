// The judge against planted faults: each is found, with its layer, rank and coordinate.
#include "oracle/judge.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "oracle/judged_run.hpp"
#include "oracle/transformer.hpp"

namespace shardproof::oracle {
namespace {

using testing::ElementsAre;

TEST(Judge, AcceptsAnHonestRun) {
    for (const Arithmetic arithmetic : {Arithmetic::f32, Arithmetic::bf16}) {
        const Verdict verdict = JudgedRun{two_layers(), arithmetic}.judge();
        ASSERT_TRUE(verdict.ok()) << verdict.failure()->why;
        ASSERT_EQ(verdict.layers.size(), 4U);
        EXPECT_EQ(verdict.layers[0].name, "tok_embeddings");
        EXPECT_EQ(verdict.layers[1].name, "layers.0");
        EXPECT_EQ(verdict.layers[3].name, "lm_head");
        EXPECT_EQ(verdict.layers[0].max_error, 0.0);
        for (std::size_t stage = 1; stage < 4; ++stage) {
            EXPECT_GT(verdict.layers[stage].max_ratio, 0.01);
            EXPECT_LE(verdict.layers[stage].max_ratio, 1.0);
            EXPECT_EQ(verdict.layers[stage].max_ratio, verdict.layers[stage].max_error / verdict.layers[stage].bound);
            EXPECT_EQ(verdict.layers[stage].tokens, 9);
        }
    }
}

// The judge's values are the oracle's: with the oracle's own logits, rounded to f32, the head is off by at most that.
TEST(Judge, WantsWhatTheOracleComputes) {
    JudgedRun run{two_layers()};
    const Logits logits = forward(run.model.config, run.model.checkpoint, run.batch);
    ASSERT_EQ(logits.rows, 9);
    double off = 0.0;
    double largest = 0.0;
    for (std::int64_t token = 0; token < 9; ++token) {
        const float* row = token < 5 ? run.rank(3, 0).output.row(token) : run.rank(3, 2).output.row(token - 5);
        for (std::int64_t v = 0; v < logits.cols; ++v) {
            const double want = logits.values[static_cast<std::size_t>(token * logits.cols + v)];
            off = std::max(off, std::abs(static_cast<double>(row[v]) - want));
            largest = std::max(largest, std::abs(want));
        }
    }
    EXPECT_LT(off, 1e-5 * largest);
}

TEST(Judge, FindsAWrongEmbedding) {
    JudgedRun run;
    const float was = run.rank(0, 2).output.row(2)[3];
    run.move_output(0, 3, std::nextafter(was, 10.0F));
    const Mismatch mismatch = run.failure();
    EXPECT_EQ(mismatch.layer, "tok_embeddings");
    EXPECT_EQ(mismatch.rank, Rank{2});
    EXPECT_THAT(mismatch.coordinate, ElementsAre(1, 2, 3));
    EXPECT_EQ(mismatch.why, "output differs");
    EXPECT_EQ(mismatch.want, static_cast<double>(was));
    EXPECT_EQ(mismatch.bound, 0.0);
}

TEST(Judge, FindsAWrongAttentionOutput) {
    JudgedRun run{two_layers()};
    run.on_replicas(2, [](RankRecord& record) { record.hidden.row(2)[7] += 0.01F; });
    const Mismatch mismatch = run.failure();
    EXPECT_EQ(mismatch.layer, "layers.1.attention");
    EXPECT_EQ(mismatch.rank, Rank{2});
    EXPECT_THAT(mismatch.coordinate, ElementsAre(1, 2, 7));
    EXPECT_NEAR(mismatch.got - mismatch.want, 0.01, 1e-5);
    EXPECT_GT(mismatch.bound, 0.0);
}

TEST(Judge, FindsAWrongExpertOutput) {
    JudgedRun run{two_layers()};
    run.move_output(1, 0, run.rank(1, 2).output.row(2)[0] + 0.01F);
    const Mismatch mismatch = run.failure();
    EXPECT_EQ(mismatch.layer, "layers.0.moe");
    EXPECT_THAT(mismatch.coordinate, ElementsAre(1, 2, 0));
}

TEST(Judge, FindsAWrongDenseLayer) {
    JudgedRun run{two_layers()};
    run.move_output(2, 15, run.rank(2, 2).output.row(2)[15] - 0.01F);
    EXPECT_EQ(run.failure().layer, "layers.1.feed_forward");
}

TEST(Judge, FindsAWrongExpertWeight) {
    JudgedRun run;
    run.on_replicas(1, [](RankRecord& record) { record.expert_weights[2 * 2 + 1] *= 1.001F; });
    const Mismatch mismatch = run.failure();
    EXPECT_EQ(mismatch.layer, "layers.0.moe");
    EXPECT_EQ(mismatch.why, "expert weight differs");
    EXPECT_THAT(mismatch.coordinate, ElementsAre(1, 2, 1));
}

TEST(Judge, FindsAWrongLogit) {
    JudgedRun run;
    run.move_output(2, 32, run.rank(2, 2).output.row(2)[32] + 0.01F);
    const Mismatch mismatch = run.failure();
    EXPECT_EQ(mismatch.layer, "lm_head");
    EXPECT_EQ(mismatch.rank, Rank{2});
    EXPECT_THAT(mismatch.coordinate, ElementsAre(1, 2, 32));
}

TEST(Judge, NamesTheFirstOfSeveralByRankRowAndColumn) {
    JudgedRun run;
    run.move_output(2, 5, 9.0F);
    run.rank(2, 0).output.row(4)[20] += 1.0F;
    run.rank(2, 1).output.row(4)[20] += 1.0F;
    const Mismatch mismatch = run.failure();
    EXPECT_EQ(mismatch.rank, Rank{0});
    EXPECT_THAT(mismatch.coordinate, ElementsAre(0, 4, 20));
}

// One element, at its value as the oracle has it plus `bounds` times its bound.
Verdict with_moved_logit(JudgedRun run, double bounds) {
    run.move_output(2, 7, 1000.0F);
    const Mismatch far = run.failure();
    run.move_output(2, 7, static_cast<float>(far.want + bounds * far.bound));
    return run.judge();
}

TEST(Judge, FailsAnElementMovedByFourBoundsAndPassesOneMovedByHalf) {
    for (const Arithmetic arithmetic : {Arithmetic::f32, Arithmetic::bf16}) {
        const JudgedRun run{tiny_config(), arithmetic};
        for (const double sign : {-1.0, 1.0}) {
            EXPECT_TRUE(with_moved_logit(run, 0.5 * sign).ok());
            const Verdict verdict = with_moved_logit(run, 4.0 * sign);
            ASSERT_FALSE(verdict.ok());
            EXPECT_NEAR(verdict.layers[2].max_ratio, 4.0, 0.3);
            EXPECT_FALSE(with_moved_logit(run, 1.5 * sign).ok());
        }
    }
}

TEST(Judge, FailsNanAndInfinity) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        for (std::size_t stage = 0; stage < 3; ++stage) {
            JudgedRun run;
            run.move_output(stage, 1, bad);
            const Mismatch mismatch = run.failure();
            EXPECT_EQ(mismatch.why, "not finite") << stage;
            EXPECT_THAT(mismatch.coordinate, ElementsAre(1, 2, 1));
        }
        JudgedRun run;
        run.on_replicas(1, [&](RankRecord& record) { record.expert_weights[4] = bad; });
        EXPECT_EQ(run.failure().why, "not finite");
    }
}

TEST(Judge, FailsReplicasThatDisagreeInOneBit) {
    const auto expect_disagreement = [](const JudgedRun& run, const std::string& layer, std::int64_t column) {
        const Mismatch mismatch = run.failure();
        EXPECT_EQ(mismatch.why, "replicas disagree");
        EXPECT_EQ(mismatch.layer, layer);
        EXPECT_EQ(mismatch.rank, Rank{3});
        EXPECT_THAT(mismatch.coordinate, ElementsAre(1, 2, column));
    };
    const auto nudge = [](float& value) { value = std::nextafter(value, 100.0F); };
    JudgedRun run;
    nudge(run.rank(0, 3).output.row(2)[4]);
    expect_disagreement(run, "tok_embeddings", 4);
    run = JudgedRun{};
    nudge(run.rank(1, 3).input.row(2)[4]);
    expect_disagreement(run, "layers.0.attention", 4);
    run = JudgedRun{};
    nudge(run.rank(1, 3).hidden.row(2)[4]);
    expect_disagreement(run, "layers.0.attention", 4);
    run = JudgedRun{};
    nudge(run.rank(1, 3).output.row(2)[4]);
    expect_disagreement(run, "layers.0.moe", 4);
    run = JudgedRun{};
    nudge(run.rank(1, 3).expert_weights[5]);
    expect_disagreement(run, "layers.0.moe", 1);
    run = JudgedRun{};
    std::swap(run.rank(1, 3).expert_ids[4], run.rank(1, 3).expert_ids[5]);
    expect_disagreement(run, "layers.0.moe", 0);
    run = JudgedRun{};
    nudge(run.rank(2, 3).output.row(2)[32]);
    expect_disagreement(run, "lm_head", 32);
}

TEST(Judge, FailsAnInputThatIsNotThePreviousOutput) {
    JudgedRun run{two_layers()};
    run.on_replicas(2,
                    [](RankRecord& record) { record.input.row(2)[6] = std::nextafter(record.input.row(2)[6], 9.0F); });
    const Mismatch mismatch = run.failure();
    EXPECT_EQ(mismatch.layer, "layers.1.attention");
    EXPECT_EQ(mismatch.why, "input differs from the previous output");
    EXPECT_EQ(mismatch.rank, Rank{2});
    EXPECT_THAT(mismatch.coordinate, ElementsAre(1, 2, 6));
    // Judged alone there is no previous output to differ from.
    Judge judge{run.model.config, run.model.checkpoint, run.batch, Arithmetic::f32};
    EXPECT_TRUE(judge.judge(run.stages[1]).ok);
    EXPECT_TRUE(judge.judge(run.stages[3]).ok);
}

TEST(Judge, FailsATokenThatNobodyComputed) {
    JudgedRun run;
    for (const std::size_t rank : {2U, 3U}) {
        RankRecord& record = run.rank(2, rank);
        record.tokens.pop_back();
        record.input.values.resize(static_cast<std::size_t>(3 * record.input.cols));
        record.output.values.resize(static_cast<std::size_t>(3 * record.output.cols));
    }
    const Mismatch mismatch = run.failure();
    EXPECT_EQ(mismatch.layer, "lm_head");
    EXPECT_EQ(mismatch.why, "token not computed");
    EXPECT_THAT(mismatch.coordinate, ElementsAre(1, 3, 0));
}

TEST(Judge, FailsRecordsOfAnotherShape) {
    JudgedRun run;
    run.rank(1, 1).hidden.values.pop_back();
    EXPECT_EQ(run.failure().why, "record has another shape");
    EXPECT_EQ(run.failure().rank, Rank{1});
    run = JudgedRun{};
    run.rank(1, 3).tokens[0] = TokenId{9};
    EXPECT_EQ(run.failure().why, "token is not of the batch");
}

TEST(Judge, AcceptsRanksWithoutTokensAndEmptyBatches) {
    JudgedRun run;
    for (StageRecord& stage : run.stages) stage.ranks.insert(stage.ranks.begin() + 1, RankRecord{});
    EXPECT_TRUE(run.judge().ok());
    run.batch.sequences = {Sequence{}, Sequence{}};
    for (StageRecord& stage : run.stages) stage.ranks = {RankRecord{}, RankRecord{}};
    EXPECT_TRUE(run.judge().ok());
}

TEST(Judge, JudgesAnMlpAloneWhateverTheLayersInputWas) {
    JudgedRun run;
    const Judge judge{run.model.config, run.model.checkpoint, run.batch, run.arithmetic};
    StageRecord& stage = run.stages[1];
    for (RankRecord& rank : stage.ranks) rank.input = {};
    EXPECT_TRUE(judge.judge_mlp(stage).ok);
    EXPECT_GT(judge.judge_mlp(stage).max_ratio, 0.0);
    run.rank(1, 0).output.row(2)[4] += 1.0F;
    run.rank(1, 1).output.row(2)[4] += 1.0F;
    const LayerVerdict verdict = judge.judge_mlp(stage);
    ASSERT_FALSE(verdict.ok);
    EXPECT_EQ(verdict.failure->layer, "layers.0.moe");
    EXPECT_THAT(verdict.failure->coordinate, ElementsAre(0, 2, 4));
}

// An exact zero has no error: where all down projections are zero the layer's output is its hidden, bit for bit.
TEST(Judge, AllowsNoErrorWhereNothingIsAdded) {
    ModelConfig config = tiny_config();
    config.mlp = {MlpKind::dense};
    Random random{5};
    const Checkpoint full = random_checkpoint(config, {}, random);
    const auto zero_down = [](const std::shared_ptr<const ByteSource>& source) {
        std::vector<std::byte> bytes{source->bytes().begin(), source->bytes().end()};
        const SafetensorsFile file{own_bytes(bytes, "tiny.safetensors")};
        const SafetensorsEntry* down = file.find("model.layers.0.mlp.down_proj.weight");
        std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(down->begin),
                  bytes.begin() + static_cast<std::ptrdiff_t>(down->end), std::byte{0});
        return own_bytes(std::move(bytes), "tiny.safetensors");
    };
    const TinyModel model{config, full.with_sources(zero_down)};
    Batch batch;
    batch.sequences = {Sequence{{3, 4, 5}, 0}};
    StageRecord stage = DenseBackend{model, batch, {}}.run()[1];
    Judge judge{config, model.checkpoint, batch, Arithmetic::f32};
    EXPECT_TRUE(judge.judge(stage).ok);
    float& value = stage.ranks[0].output.row(1)[2];
    value = std::nextafter(value, 100.0F);
    const LayerVerdict verdict = judge.judge(stage);
    ASSERT_FALSE(verdict.ok);
    EXPECT_EQ(verdict.failure->bound, 0.0);
}

// A backend that has one switch of Llama 4 the wrong way, in a model where it matters.
TEST(Judge, SeesEverySwitchOfLlama4TurnedTheWrongWay) {
    Random random{8};
    ModelConfig config = two_layers();
    make_llama4(config, random);
    Llama4Attention& spec = std::get<Llama4Attention>(config.attention);
    spec.rope_layers = {true, false};
    spec.chunked_layers = {true, false};
    spec.chunk_size = 2;
    spec.qk_norm = true;
    spec.temperature = {.floor_scale = 2, .attn_scale = 1.0};
    const Checkpoint checkpoint = random_checkpoint(config, {}, random);
    Batch batch;
    batch.sequences = {Sequence{{1, 2, 3, 4, 5}, 0}};

    struct Alteration {
        const char* layer;
        void (*alter)(ModelConfig&, Llama4Attention&);
    };
    const std::vector<Alteration> alterations{
        {"layers.0.attention", [](ModelConfig&, Llama4Attention& a) { a.rope_layers[0] = false; }},
        {"layers.0.attention", [](ModelConfig&, Llama4Attention& a) { a.rope.pairs = RopePairs::halves; }},
        {"layers.0.attention", [](ModelConfig&, Llama4Attention& a) { a.qk_norm = false; }},
        {"layers.0.attention", [](ModelConfig&, Llama4Attention& a) { a.chunk_size = 3; }},
        {"layers.0.attention", [](ModelConfig&, Llama4Attention& a) { a.chunked_layers[0] = false; }},
        {"layers.1.attention", [](ModelConfig&, Llama4Attention& a) { a.chunked_layers[1] = true; }},
        {"layers.1.attention", [](ModelConfig&, Llama4Attention& a) { a.rope_layers[1] = true; }},
        {"layers.1.attention", [](ModelConfig&, Llama4Attention& a) { a.temperature.reset(); }},
        {"layers.1.attention", [](ModelConfig&, Llama4Attention& a) { a.temperature->floor_scale = 3; }},
        {"layers.0.moe", [](ModelConfig& c, Llama4Attention&) { c.shared_intermediate_size = 0; }},
    };
    const auto failure = [&](const ModelConfig& backend) -> std::string {
        Judge judge{config, checkpoint, batch, Arithmetic::f32};
        const TinyModel model{backend, checkpoint};
        for (const StageRecord& stage : DenseBackend{model, batch, {}}.run()) {
            const LayerVerdict verdict = judge.judge(stage);
            if (!verdict.ok) return verdict.failure->layer;
        }
        return "";
    };
    EXPECT_EQ(failure(config), "");
    for (std::size_t i = 0; i < alterations.size(); ++i) {
        ModelConfig altered = config;
        alterations[i].alter(altered, std::get<Llama4Attention>(altered.attention));
        EXPECT_EQ(failure(altered), alterations[i].layer) << i;
    }
}

}  // namespace
}  // namespace shardproof::oracle
