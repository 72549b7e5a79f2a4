#include "sim/plan/plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "oracle/model/error.hpp"
#include "sim/plan/test_params.hpp"

namespace shardproof {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

Plan plan_of(const testing::Sizes& sizes, const RawDims& raw, std::string_view rules) {
    std::vector<Parameter> parameters = testing::parameters_of(sizes);
    const std::vector<DType> dtypes(parameters.size(), DType::BF16);
    return make_plan(testing::config_of(sizes), std::move(parameters), dtypes, ParallelDims::parse(raw),
                     rule_set_named(rules));
}

RawDims train_dims(std::int64_t r, std::int64_t s, std::int64_t t, std::int64_t x) {
    return {.dp_replicate = r, .dp_shard = s, .tp = t, .ep = x, .world = {}};
}

void expect_refused(const testing::Sizes& sizes, const RawDims& raw, std::string_view rules, const char* what,
                    const char* rule) {
    EXPECT_THAT([&] { (void)plan_of(sizes, raw, rules); },
                ThrowsMessage<InputError>(AllOf(HasSubstr("command line: "), HasSubstr(what), HasSubstr(rule))));
}

TEST(MakePlan, RejectsTpThatDoesNotDivideTheHeads) {
    expect_refused({.heads = 6, .kv_heads = 2}, train_dims(1, 1, 4, 1), "titan-train", "--tp=4",
                   "must divide num_attention_heads (6)");
    expect_refused({.heads = 8, .kv_heads = 2}, train_dims(1, 1, 4, 1), "titan-infer", "--tp=4",
                   "must divide num_key_value_heads (2)");
}

TEST(MakePlan, RejectsMoreExpertParallelRanksThanExperts) {
    expect_refused({.experts = 3}, train_dims(1, 4, 1, 4), "titan-train", "--ep=4", "must be <= num_experts (3)");
    expect_refused({.experts = 3}, train_dims(1, 4, 1, 4), "titan-infer", "--ep=4", "must be <= num_experts (3)");
}

TEST(MakePlan, RejectsAnUnevenShardOfDimOne) {
    expect_refused({.experts = 2, .hidden = 16, .expert_hidden = 10}, train_dims(1, 8, 1, 2), "titan-train",
                   "--dp-shard=8", "moe.experts.w1 (10 of a rank) 4 ways, and an uneven Shard(1)");
    expect_refused({.experts = 2, .hidden = 18, .expert_hidden = 12}, train_dims(1, 4, 1, 1), "titan-train",
                   "--dp-shard=4", "moe.experts.w2 (18 of a rank)");
}

TEST(MakePlan, RejectsDegreesThatTitanInferDoesNotTake) {
    expect_refused({}, train_dims(2, 1, 1, 1), "titan-infer", "--dp-replicate=2", "must be 1 for rules titan-infer");
    expect_refused({}, {.cp = 2, .world = {}}, "titan-infer", "--cp=2", "must be 1");
    expect_refused({}, {.pp = 2, .world = {}}, "titan-infer", "--pp=2", "must be 1");
    expect_refused({}, train_dims(1, 4, 1, 2), "titan-infer", "--ep=2", "must be 1 or dp_shard*tp (4)");
}

TEST(MakePlan, RejectsParametersUnderPipelineParallelismButGivesMeshes) {
    const RawDims raw{.dp_shard = 2, .pp = 2, .world = {}};
    expect_refused({}, raw, "titan-train", "--pp=2", "tok_embeddings.weight");
    const Plan plan =
        make_plan(testing::config_of({}), {}, {}, ParallelDims::parse(raw), rule_set_named("titan-train"));
    EXPECT_EQ(plan.meshes.dense.size(Axis::pp), 2);
    EXPECT_EQ(plan.world(), 4);
}

TEST(MakePlan, RejectsAParameterThatNoRuleCovers) {
    std::vector<Parameter> parameters = testing::parameters_of({});
    parameters[3].role = static_cast<Role>(200);
    const auto bare = [](const Parameter&, const ModelConfig&, const ParallelDims&, const RuleOptions&) {
        return std::optional<ParamPlacement>{};
    };
    const RuleSet rules{"bare", "covers nothing", [](const ParallelDims&, const ModelConfig&, const RuleOptions&) {},
                        bare};
    EXPECT_THAT(
        [&] {
            (void)make_plan(testing::config_of({}), testing::parameters_of({}),
                            std::vector<DType>(parameters.size(), DType::F32), ParallelDims::parse({.world = {}}),
                            rules);
        },
        ThrowsMessage<InputError>(AllOf(HasSubstr("tok_embeddings.weight"), HasSubstr("rules bare do not cover"))));
}

TEST(RuleSets, AnUnknownNameIsRefusedWithTheKnownOnes) {
    EXPECT_THAT([] { (void)rule_set_named("titan"); },
                ThrowsMessage<InputError>(AllOf(HasSubstr("--rules"), HasSubstr("titan-infer, titan-train"))));
}

TEST(MakePlan, PlansExpertsThatEpDoesNotDivide) {
    const Plan plan = plan_of({.experts = 10}, train_dims(1, 4, 1, 4), "titan-infer");
    const std::size_t w1 = plan.param_idx("layers.0.moe.experts.w1");
    EXPECT_EQ(shard_of(plan, w1, Rank{2})[0], (IndexRuns{{6, 9}}));
    EXPECT_EQ(shard_of(plan, w1, Rank{3})[0], (IndexRuns{{9, 10}}));
    EXPECT_THAT(coverage_violations(plan), IsEmpty());
}

TEST(MakePlan, WarnsByNameWhereStridedShardsAreUneven) {
    const Plan plan = plan_of({.vocab = 249}, train_dims(1, 4, 2, 4), "titan-train");
    ASSERT_EQ(plan.warnings.size(), 2U);
    EXPECT_THAT(plan.warnings[0], AllOf(HasSubstr("tok_embeddings.weight"), HasSubstr("rank 6 holds 96..125")));
    EXPECT_THAT(plan.warnings[1], HasSubstr("lm_head.weight"));
}

TEST(BytesPerRank, EqualsTheSumOfEveryShard) {
    for (const auto& [raw, rules] :
         {std::pair{train_dims(2, 3, 2, 2), "titan-train"}, std::pair{train_dims(1, 2, 2, 1), "titan-train"},
          std::pair{train_dims(1, 3, 2, 6), "titan-infer"}}) {
        const Plan plan = plan_of({.experts = 10, .layers = 2, .vocab = 41, .dense_hidden = 14}, raw, rules);
        const std::vector<std::int64_t> bytes = bytes_per_rank(plan);
        ASSERT_EQ(static_cast<std::int64_t>(bytes.size()), plan.world());
        for (std::int64_t r = 0; r < plan.world(); ++r) {
            std::int64_t sum = 0;
            for (std::size_t i = 0; i < plan.params.size(); ++i) sum += shard_bytes(plan, i, Rank{r});
            EXPECT_EQ(bytes[static_cast<std::size_t>(r)], sum) << "rank " << r << " of " << rules;
        }
    }
}

Plan with_owners(std::vector<IndexRuns> runs) {
    Plan plan = plan_of({.experts = 8}, train_dims(1, 2, 1, 2), "titan-infer");
    plan.params[plan.param_idx("layers.0.moe.experts.w2")].placement.placements[3] = Owners{0, std::move(runs)};
    return plan;
}

TEST(Coverage, AnOwnerListThatTilesTheDimHolds) {
    EXPECT_THAT(coverage_violations(with_owners({{{0, 1}, {4, 8}}, {{1, 4}}})), IsEmpty());
}

TEST(Coverage, NamesAHole) {
    EXPECT_THAT(coverage_violations(with_owners({{{0, 3}}, {{4, 8}}})),
                ElementsAre("layers.0.moe.experts.w2: dim 0 indices 3..4 are held 0 times by each replica, not once"));
}

TEST(Coverage, NamesADoubleCover) {
    EXPECT_THAT(coverage_violations(with_owners({{{0, 6}}, {{4, 8}}})),
                ElementsAre("layers.0.moe.experts.w2: dim 0 indices 4..6 are held 2 times by each replica, not once"));
    EXPECT_THAT(coverage_violations(with_owners({{{0, 4}, {1, 2}}, {{4, 8}}})),
                ElementsAre(HasSubstr("indices 1..2 are held 2")));
}

TEST(Coverage, NamesAnOwnerListThatIsNoList) {
    EXPECT_THAT(coverage_violations(with_owners({{{0, 4}}, {{4, 9}}})), ElementsAre(HasSubstr("names 4..9 of dim 0")));
    EXPECT_THAT(coverage_violations(with_owners({{{0, 8}}})), ElementsAre(HasSubstr("1 entries for a size of 2")));
}

TEST(Coverage, NamesAPartialParameter) {
    Plan plan = plan_of({}, train_dims(1, 2, 1, 1), "titan-infer");
    plan.params[0].placement.placements[2] = Partial{};
    EXPECT_THAT(coverage_violations(plan), ElementsAre(HasSubstr("tok_embeddings.weight: is P on axis fsdp")));
}

TEST(Coverage, OfARedundantOwnerListAsksForOneHolderOrMore) {
    Plan plan = plan_of({}, train_dims(1, 2, 1, 1), "titan-infer");
    const auto lines_of = [&](std::vector<IndexRuns> runs, bool redundant) {
        plan.params[0].placement.placements[2] = Owners{.dim = 0, .runs = std::move(runs), .redundant = redundant};
        return coverage_violations(plan);
    };
    EXPECT_THAT(lines_of({{{0, 25}}, {{20, 40}}}, true), IsEmpty());
    EXPECT_THAT(lines_of({{{0, 25}}, {{20, 40}}}, false), ElementsAre(HasSubstr("indices 20..25 are held 2 times")));
    EXPECT_THAT(lines_of({{{0, 25}}, {{30, 40}}}, true), ElementsAre(HasSubstr("indices 25..30 are held 0 times")));
}

TEST(HashOf, ChangesWithEveryPartOfThePlanAndWithNothingElse) {
    const Plan plan = plan_of({}, train_dims(1, 2, 2, 4), "titan-infer");
    EXPECT_EQ(hash_of(plan), hash_of(plan_of({}, train_dims(1, 2, 2, 4), "titan-infer")));
    const auto changed = [&](auto change) {
        Plan other = plan;
        change(other);
        return hash_of(other) != hash_of(plan);
    };
    EXPECT_TRUE(changed([](Plan& p) { p.rules = "other"; }));
    EXPECT_TRUE(changed([](Plan& p) { p.params[1].placement.placements[3] = ShardDim{0}; }));
    EXPECT_TRUE(changed([](Plan& p) { p.params[1].dtype = DType::F32; }));
    EXPECT_TRUE(changed([](Plan& p) { p.params[1].parameter.sources[0].tensor += "x"; }));
    EXPECT_TRUE(changed([](Plan& p) { p.config.router.scale = 2.0; }));
    EXPECT_TRUE(changed([](Plan& p) { p.dims = ParallelDims::parse({.dp_shard = 4, .ep = 4, .world = {}}); }));
}

// 94 layers of Qwen3-235B-A22B on 16,384 ranks: planned, proved and summed without a look at every rank and element.
TEST(Speed, Qwen3_235BOn16384RanksIsProvedInUnderASecond) {
    const testing::Sizes sizes{.experts = 128,
                               .layers = 94,
                               .hidden = 4096,
                               .heads = 64,
                               .kv_heads = 4,
                               .head_dim = 128,
                               .expert_hidden = 1536,
                               .vocab = 151936,
                               .top_k = 8};
    std::vector<Parameter> parameters = testing::parameters_of(sizes);
    const std::vector<DType> dtypes(parameters.size(), DType::BF16);
    const ParallelDims dims =
        ParallelDims::parse({.dp_replicate = 2, .dp_shard = 2048, .tp = 4, .ep = 128, .world = 16384});
    const auto start = std::chrono::steady_clock::now();
    const Plan plan =
        make_plan(testing::config_of(sizes), std::move(parameters), dtypes, dims, rule_set_named("titan-train"));
    const std::vector<std::string> violations = coverage_violations(plan);
    const std::vector<std::int64_t> bytes = bytes_per_rank(plan);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    RecordProperty("seconds", std::to_string(seconds.count()));
    std::printf("planned, proved and summed in %.3f s\n", seconds.count());
    EXPECT_THAT(violations, IsEmpty());
    EXPECT_EQ(bytes.size(), 16384U);
    EXPECT_EQ(plan.params.size(), 94U * 12 + 3);
#ifdef NDEBUG
    EXPECT_LT(seconds.count(), 1.0);
#endif
}

}  // namespace
}  // namespace shardproof
