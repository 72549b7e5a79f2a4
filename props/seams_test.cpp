// Seams that later families and rule sets need, each proved by one run of the whole pipeline.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "oracle/transformer.hpp"
#include "props/check.hpp"
#include "props/four_ranks.hpp"
#include "props/gen/tiny_model.hpp"
#include "sim/plan/dispatch_plan.hpp"

namespace shardproof::props {
namespace {

CheckReport checked(const Case& c, const Model& model, const Plan& plan) {
    return check(model, plan, make_batch(c), {.keep_result = true, .trace = nullptr, .progress = {}});
}

std::vector<float> logits_of(const CheckReport& report) {
    return report.result->stages.back().ranks.front().output.values;
}

std::vector<float> logits_with(const std::function<void(RouterSpec&)>& change) {
    const Case c = four_ranks();
    Model model = make_tiny_model(c);
    change(model.config.router);
    const Plan plan = make_plan(model, dims_of(c.layout), rule_set_named(c.layout.rules));
    const CheckReport report = checked(c, model, plan);
    EXPECT_TRUE(report.ok()) << report.failure->layer << ": " << report.failure->why;
    return logits_of(report);
}

TEST(Seams, ScoresOnTheInputOfAnExpertAreAnotherModelThatHoldsAsWell) {
    const std::vector<float> on_output = logits_with([](RouterSpec&) {});
    const std::vector<float> on_input = logits_with([](RouterSpec& router) { router.score_on = ScoreOn::input; });
    EXPECT_NE(on_output, on_input);
}

TEST(Seams, SigmoidScoresAndAScaleHold) {
    const std::vector<float> softmax = logits_with([](RouterSpec&) {});
    const std::vector<float> sigmoid = logits_with([](RouterSpec& router) {
        router.score = ScoreFunction::sigmoid;
        router.scale = 2.5;
    });
    EXPECT_NE(softmax, sigmoid);
}

// Experts dealt round-robin by an explicit owner list: 0 4 | 1 5 | 2 6 | 3 7.
Plan round_robin_plan(const Case& c, const Model& model) {
    Plan plan = make_plan(model, dims_of(c.layout), rule_set_named(c.layout.rules));
    const std::size_t ep = plan.meshes.sparse.axis_idx(Axis::ep);
    for (ParamPlan& param : plan.params) {
        if (param.placement.mesh != MeshKind::sparse) continue;
        Owners owners;
        for (std::int64_t peer = 0; peer < plan.dims.ep(); ++peer) {
            IndexRuns runs;
            for (std::int64_t e = peer; e < c.model.experts; e += plan.dims.ep()) runs.push_back({e, e + 1});
            owners.runs.push_back(runs);
        }
        param.placement.placements[ep] = owners;
    }
    return plan;
}

TEST(Seams, AnOwnerListPlacesExpertsAndTheModelIsTheSame) {
    const Case c = four_ranks();
    const Model model = make_tiny_model(c);
    const Plan plan = round_robin_plan(c, model);
    EXPECT_THAT(coverage_violations(plan), testing::IsEmpty());
    EXPECT_THAT(expert_map(plan, 0).held[1], testing::ElementsAre(ExpertId{1}, ExpertId{5}));
    const CheckReport report = checked(c, model, plan);
    EXPECT_TRUE(report.ok()) << report.failure->layer << ": " << report.failure->why;
    const Plan contiguous = make_plan(model, dims_of(c.layout), rule_set_named(c.layout.rules));
    EXPECT_EQ(logits_of(report), logits_of(checked(c, model, contiguous)));
}

TEST(Seams, AnOwnerListThatDropsAnExpertIsNamed) {
    const Case c = four_ranks();
    const Model model = make_tiny_model(c);
    Plan plan = round_robin_plan(c, model);
    for (ParamPlan& param : plan.params) {
        for (Placement& placement : param.placement.placements) {
            if (auto* owners = std::get_if<Owners>(&placement)) owners->runs[2].pop_back();  // expert 6
        }
    }
    EXPECT_THAT(coverage_violations(plan), testing::Contains(testing::HasSubstr("moe.experts.w1")));
}

// One flipped bit under a checkpoint: the ranks load from it, and what they hold is judged by the sound one.
TEST(Seams, AByteSourceCanCorruptWhatRanksLoad) {
    const Case c = four_ranks();
    const Model model = make_tiny_model(c);
    const Plan plan = make_plan(model, dims_of(c.layout), rule_set_named(c.layout.rules));
    const std::size_t param = plan.param_idx("layers.0.moe.experts.w2");
    const std::string tensor = plan.params[param].parameter.sources[3].tensor;
    const Checkpoint faulty = model.checkpoint.with_sources([&](const std::shared_ptr<const ByteSource>& source) {
        std::vector<std::byte> bytes(source->bytes().begin(), source->bytes().end());
        const Checkpoint::Item& item = model.checkpoint.items().find(tensor)->second;
        if (model.checkpoint.files()[item.file_idx].shared_source() == source) bytes[item.entry->begin] ^= std::byte{1};
        return own_bytes(std::move(bytes), source->name());
    });
    sim::LoadReport load;
    const sim::HeldParam held = sim::load_param(plan, faulty, param, Rank{1}, nullptr, load);
    const Tensor whole = oracle::whole_parameter(model.config, model.checkpoint, "layers.0.moe.experts.w2");
    const auto mismatch = judge_load(plan, param, Rank{1}, whole, held.bytes, held.shape);
    ASSERT_TRUE(mismatch);
    EXPECT_THAT(mismatch->coordinate, testing::ElementsAre(3, 0, 0));
    EXPECT_NE(mismatch->got, mismatch->want);
}

}  // namespace
}  // namespace shardproof::props
