// Expert ids that a backend may not choose, and those that it may.
#include "oracle/expert_ids.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "oracle/judged_run.hpp"

namespace shardproof::oracle {
namespace {

using testing::AnyOf;
using testing::ElementsAre;

TEST(ExpertIds, FailsIllegalExpertIds) {
    const auto with_id = [](std::int64_t place, std::int64_t id) {
        JudgedRun run;
        run.on_replicas(
            1, [&](RankRecord& record) { record.expert_ids[static_cast<std::size_t>(4 + place)] = ExpertId{id}; });
        return run.failure();
    };
    const JudgedRun honest;
    const std::vector<ExpertId>& all = honest.stages[1].ranks[2].expert_ids;
    const std::int64_t first = all[4].value();
    const std::int64_t second = all[5].value();
    EXPECT_EQ(with_id(0, 8).why, "expert id out of range");
    EXPECT_EQ(with_id(0, -1).why, "expert id out of range");
    EXPECT_EQ(with_id(1, first).why, "expert id twice");
    std::int64_t other = 0;
    while (other == first || other == second) ++other;
    const Mismatch mismatch = with_id(1, other);
    EXPECT_EQ(mismatch.why, "expert id");
    EXPECT_EQ(mismatch.layer, "layers.0.moe");
    EXPECT_THAT(mismatch.coordinate, ElementsAre(1, 2, 1));
    EXPECT_EQ(mismatch.got, static_cast<double>(other));
    EXPECT_EQ(mismatch.want, static_cast<double>(second));
}

// Experts 0 and 1 have one gate row. Wherever the backend chose 0 alone, choosing 1 alone is the tie broken wrongly.
TEST(ExpertIds, FailsATieBrokenToTheHigherId) {
    ModelConfig config = tiny_config();
    config.router.top_k = 1;
    config.router.num_experts = 2;
    config.router.norm_topk = false;
    Random random{5};
    const TinyModel model{config, random_checkpoint(config, {.twins = 0}, random)};
    Batch batch;
    batch.sequences = {Sequence{{3, 4, 5}, 0}};
    std::vector<StageRecord> stages = DenseBackend{model, batch, {}}.run();
    Judge judge{config, model.checkpoint, batch, Arithmetic::f32};
    EXPECT_TRUE(judge.judge(stages[1]).ok);
    EXPECT_EQ(stages[1].ranks[0].expert_ids[1], ExpertId{0});
    stages[1].ranks[0].expert_ids[1] = ExpertId{1};
    const LayerVerdict verdict = judge.judge(stages[1]);
    ASSERT_FALSE(verdict.ok);
    EXPECT_EQ(verdict.failure->why, "tie broken to the higher id");
    EXPECT_THAT(verdict.failure->coordinate, ElementsAre(0, 1, 0));
    EXPECT_EQ(verdict.failure->want, 0.0);
}

// Gates that differ by less than f32 can tell apart: either expert is legal, and counted when it is not the oracle's.
TEST(ExpertIds, CountsOtherIdsWhereTheGapIsWithinItsBound) {
    ModelConfig config = tiny_config();
    config.router = {.num_experts = 2, .top_k = 1, .norm_topk = false};
    Random random{5};
    const Checkpoint tied = random_checkpoint(config, {.twins = 0}, random);
    // The same checkpoint with one gate element one unit higher: no longer tied by construction.
    const auto nudge = [](const std::shared_ptr<const ByteSource>& source) {
        std::vector<std::byte> bytes{source->bytes().begin(), source->bytes().end()};
        const SafetensorsFile file{own_bytes(bytes, "tiny.safetensors")};
        const SafetensorsEntry* gate = file.find("model.layers.0.mlp.gate.weight");
        bytes[gate->begin] ^= std::byte{1};
        return own_bytes(std::move(bytes), "tiny.safetensors");
    };
    const TinyModel model{config, tied.with_sources(nudge)};
    Batch batch;
    batch.sequences = {Sequence{{3, 4, 5}, 0}};
    const std::vector<StageRecord> stages = DenseBackend{model, batch, {}}.run();
    std::int64_t others = 0;
    for (const std::int64_t id : {0, 1}) {
        Judge judge{config, model.checkpoint, batch, Arithmetic::f32};
        StageRecord stage = stages[1];
        stage.ranks[0].expert_ids.assign(3, ExpertId{id});
        const LayerVerdict verdict = judge.judge(stage);
        // The output is another expert's; the ids themselves must not be what fails.
        EXPECT_THAT(verdict.failure ? verdict.failure->why : std::string{}, AnyOf("", "output differs"));
        others += verdict.tokens_with_other_ids;
    }
    EXPECT_EQ(others, 3);
}

}  // namespace
}  // namespace shardproof::oracle
