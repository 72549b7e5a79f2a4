// The specimen as it was written, and each of its four blockers by itself.
#include "sim/plan/rules/pr_3143.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "oracle/model/error.hpp"
#include "sim/plan/declaration.hpp"
#include "sim/plan/test_params.hpp"

namespace shardproof {
namespace {

using pr_3143::Blockers;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr Blockers kMended{
    .reversed_mesh = false, .size_test = false, .too_few_placements = false, .sharded_dense = false};

// A rule set with some blockers mended.
template <Blockers blockers>
RuleSet specimen() {
    return {"pr-3143", "", pr_3143::check,
            [](const Parameter& parameter, const ModelConfig& config, const ParallelDims& dims, const RuleOptions&) {
                return pr_3143::place_with(parameter, config, dims, blockers);
            },
            [](const ParallelDims& dims) { return pr_3143::meshes_with(dims, blockers); }};
}

// Layer 0 dense, layer 1 a mixture of experts; dp_shard 2, tp 2, ep 4.
Plan plan_by(const RuleSet& rules, const RawDims& raw = {.dp_shard = 2, .tp = 2, .ep = 4, .etp = {}, .world = {}}) {
    const testing::Sizes sizes{.layers = 2, .dense_hidden = 12};
    std::vector<Parameter> parameters = testing::parameters_of(sizes);
    const std::vector<DType> dtypes(parameters.size(), DType::BF16);
    return make_plan(testing::config_of(sizes), std::move(parameters), dtypes, ParallelDims::parse(raw), rules);
}

auto param_is(const std::string& name) { return Field(&DeclarationViolation::param, name); }
auto axis_is(const std::string& name) { return Field(&DeclarationViolation::axis, name); }
auto reason_has(const std::string& text) { return Field(&DeclarationViolation::reason, HasSubstr(text)); }

TEST(Pr3143, PlansReversedMeshes) {
    const Plan plan = plan_by(rule_set_named("pr-3143"));
    std::vector<Axis> dense;
    for (const MeshAxis& axis : plan.meshes.dense.axes()) dense.push_back(axis.axis);
    EXPECT_THAT(dense, ElementsAre(Axis::pp, Axis::fsdp, Axis::dp_replicate, Axis::tp));
    EXPECT_EQ(plan.meshes.sparse.axes()[1].axis, Axis::efsdp);
    // dp_replicate is 1: every rank stays where it was.
    EXPECT_EQ(plan.meshes.dense.coordinate(Rank{3}, Axis::fsdp), 1);
    EXPECT_EQ(plan.meshes.dense.coordinate(Rank{3}, Axis::tp), 1);
}

TEST(Pr3143, ReallyCutsDenseParametersOfMoeBlocksOnly) {
    const Plan plan = plan_by(rule_set_named("pr-3143"));
    const auto rows = [&](const char* name, std::int64_t rank) {
        return num_indices(shard_of(plan, plan.param_idx(name), Rank{rank})[0]);
    };
    EXPECT_EQ(rows("layers.0.attention.wq.weight", 0), 12);  // 24 rows over tp
    EXPECT_EQ(rows("layers.1.attention.wq.weight", 0), 6);   // and over fsdp
    EXPECT_EQ(rows("tok_embeddings.weight", 0), 20);
    EXPECT_THAT(coverage_violations(plan), IsEmpty());
}

TEST(Pr3143, AsWrittenHasAllFourAndSaysSo) {
    const Plan plan = plan_by(rule_set_named("pr-3143"));
    const std::vector<std::string> lines = to_lines(declaration_violations(plan));
    EXPECT_EQ(plan.warnings, lines);
    for (const char* reason :
         {"shards over the second axis", "size() counts ranks", "has no placement", "loading takes it for R"}) {
        EXPECT_THAT(lines, ::testing::Contains(HasSubstr(reason)));
    }
    // Kinds, not parameters: a large model has no more lines.
    EXPECT_LE(lines.size(), 8U);
}

TEST(Pr3143, WithAllFourMendedIsTitanInfer) {
    const Plan plan = plan_by(specimen<kMended>());
    EXPECT_THAT(declaration_violations(plan), IsEmpty());
    const Plan infer = plan_by(rule_set_named("titan-infer"));
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        for (std::int64_t rank = 0; rank < plan.world(); ++rank)
            EXPECT_EQ(shard_of(plan, p, Rank{rank}), shard_of(infer, p, Rank{rank})) << plan.params[p].parameter.name;
    }
}

TEST(Pr3143, AReversedMeshByItselfIsNamed) {
    const auto found = declaration_violations(plan_by(specimen<Blockers{true, false, false, false}>()));
    ASSERT_FALSE(found.empty());
    EXPECT_THAT(found.front(), AllOf(param_is("tok_embeddings.weight"), axis_is("dp_replicate")));
    EXPECT_THAT(found, Each(AllOf(axis_is("dp_replicate"), reason_has("shards over the second axis"))));
    EXPECT_THAT(found.front(), reason_has("(fsdp, dp_replicate)"));
}

TEST(Pr3143, ASizeTestByItselfIsNamed) {
    const auto found = declaration_violations(plan_by(specimen<Blockers{false, true, false, false}>()));
    EXPECT_THAT(found, ElementsAre(param_is("layers.1.moe.experts.w1"), param_is("layers.1.moe.experts.w2"),
                                   param_is("layers.1.moe.experts.w3")));
    EXPECT_THAT(found, Each(AllOf(axis_is("efsdp"), reason_has("of 1 rank, whose size is asserted to be 2"))));
}

TEST(Pr3143, TooFewPlacementsByThemselvesAreNamed) {
    const auto found = declaration_violations(plan_by(specimen<Blockers{false, false, true, false}>()));
    ASSERT_FALSE(found.empty());
    EXPECT_THAT(found, Each(reason_has("has no placement: the DTensor has 2 on the 3 axes")));
    EXPECT_THAT(found, Each(Field(&DeclarationViolation::param, HasSubstr("layers.1."))));
    EXPECT_THAT(found.front(), AllOf(param_is("layers.1.attention_norm.weight"), axis_is("tp")));
    EXPECT_THAT(found, ::testing::Contains(AllOf(param_is("layers.1.moe.experts.w1"), axis_is("ep"))));
}

TEST(Pr3143, DenseParametersReallyShardedByThemselvesAreNamed) {
    const auto found = declaration_violations(plan_by(specimen<Blockers{false, false, false, true}>()));
    ASSERT_FALSE(found.empty());
    EXPECT_THAT(found, Each(AllOf(axis_is("fsdp"), reason_has("loading takes it for R"))));
    EXPECT_THAT(found, ::testing::Contains(AllOf(param_is("layers.1.attention.wq.weight"), reason_has("SS(0,2)"))));
    EXPECT_THAT(found, Each(Field(&DeclarationViolation::param, HasSubstr("layers.1."))));
}

TEST(Pr3143, FailsInEveryLayoutItTakes) {
    for (const RawDims& raw :
         {RawDims{.etp = {}, .world = {}}, RawDims{.dp_shard = 2, .etp = {}, .world = {}},
          RawDims{.tp = 2, .etp = {}, .world = {}}, RawDims{.dp_shard = 4, .tp = 2, .ep = 8, .etp = {}, .world = {}}})
        EXPECT_FALSE(declaration_violations(plan_by(rule_set_named("pr-3143"), raw)).empty());
    EXPECT_THAT([] { (void)plan_by(rule_set_named("pr-3143"), {.dp_replicate = 2, .etp = {}, .world = {}}); },
                ::testing::ThrowsMessage<InputError>(HasSubstr("must be 1 for rules pr-3143")));
}

TEST(Declarations, OfOtherRuleSetsAreNone) {
    EXPECT_THAT(declaration_violations(plan_by(rule_set_named("titan-train"))), IsEmpty());
}

}  // namespace
}  // namespace shardproof
