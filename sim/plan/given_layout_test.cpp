#include "sim/plan/given_layout.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "oracle/model/error.hpp"
#include "sim/plan/runnable.hpp"
#include "sim/plan/test_params.hpp"

namespace shardproof {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

const testing::Sizes kSizes{.experts = 8, .layers = 2, .dense_hidden = 20};

Plan plan_by(std::string_view rules, const RawDims& raw) {
    std::vector<Parameter> parameters = testing::parameters_of(kSizes);
    const std::vector<DType> dtypes(parameters.size(), DType::BF16);
    return make_plan(testing::config_of(kSizes), std::move(parameters), dtypes, ParallelDims::parse(raw),
                     rule_set_named(rules));
}

Plan plan_of(const GivenLayout& given, const RawDims& raw) {
    std::vector<Parameter> parameters = testing::parameters_of(kSizes);
    const std::vector<DType> dtypes(parameters.size(), DType::BF16);
    return make_plan(testing::config_of(kSizes), std::move(parameters), dtypes, ParallelDims::parse(raw), given);
}

enum class Says : std::uint8_t { placements, shards, both };

// The plan as another program would say it.
GivenLayout given_as(const Plan& plan, Says says) {
    GivenLayout given{.file = "layout.json", .rules = plan.rules, .meshes = {}, .params = {}};
    for (const MeshKind kind : {MeshKind::dense, MeshKind::sparse}) {
        GivenMesh& mesh = given.meshes.emplace_back();
        mesh.path = "meshes." + std::string{name_of(kind)};
        mesh.kind = kind;
        for (const MeshAxis& axis : plan.mesh(kind).axes()) mesh.axes.emplace_back(axis.axis, axis.size);
    }
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        const ParamPlan& param = plan.params[p];
        GivenParam& made = given.params.emplace_back();
        made.name = param.parameter.name;
        made.path = "params[" + std::to_string(p) + "]";
        if (says != Says::shards) {
            made.mesh = param.placement.mesh;
            const Mesh& mesh = plan.mesh(param.placement.mesh);
            for (std::size_t i = 0; i < mesh.axes().size(); ++i)
                made.placements.emplace_back(mesh.axes()[i].axis, param.placement.placements[i]);
        }
        if (says == Says::placements) continue;
        made.shards.emplace();
        for (std::int64_t r = 0; r < plan.world(); ++r) made.shards->push_back({Rank{r}, shard_of(plan, p, Rank{r})});
    }
    return given;
}

GivenParam& param_named(GivenLayout& given, std::string_view name) {
    for (GivenParam& param : given.params) {
        if (param.name == name) return param;
    }
    throw std::runtime_error("no such parameter");
}

std::vector<RawDims> layouts() {
    return {{.world = {}},
            {.tp = 2, .world = {}},
            {.dp_shard = 4, .tp = 2, .ep = 8, .world = {}},
            {.dp_shard = 3, .tp = 2, .world = {}},
            {.dp_replicate = 2, .dp_shard = 2, .tp = 2, .ep = 2, .world = {}},
            {.dp_shard = 6, .ep = 3, .world = {}}};
}

class GivenByRules : public ::testing::TestWithParam<RuleSet> {};

TEST_P(GivenByRules, TheSamePlanComesBackFromWhatItPrints) {
    int tried = 0;
    for (const RawDims& raw : layouts()) {
        std::optional<Plan> plan;
        try {
            plan = plan_by(GetParam().name, raw);
        } catch (const InputError&) {
            continue;  // degrees that these rules do not take
        }
        ++tried;
        // What a specimen's code declares is no part of a layout.
        if (GetParam().name != "pr-3143") {
            EXPECT_EQ(hash_of(plan_of(given_as(*plan, Says::both), raw)), hash_of(*plan));
        }
        EXPECT_EQ(not_runnable(plan_of(given_as(*plan, Says::both), raw)).has_value(), false);
        const Plan by_shards = plan_of(given_as(*plan, Says::shards), raw);
        EXPECT_THAT(coverage_violations(by_shards), IsEmpty());
        for (std::size_t p = 0; p < plan->params.size(); ++p) {
            for (std::int64_t r = 0; r < plan->world(); ++r)
                ASSERT_EQ(shard_of(by_shards, p, Rank{r}), shard_of(*plan, p, Rank{r}))
                    << plan->params[p].parameter.name;
        }
    }
    EXPECT_GE(tried, 3);
}
INSTANTIATE_TEST_SUITE_P(All, GivenByRules, ::testing::ValuesIn(rule_sets().begin(), rule_sets().end()),
                         [](const auto& row) {
                             std::string name{row.param.name};
                             std::ranges::replace(name, '-', '_');
                             return name;
                         });

constexpr std::string_view kW1 = "layers.1.moe.experts.w1";
const RawDims kDims{.dp_shard = 2, .tp = 2, .ep = 4, .world = {}};

GivenLayout given_train(Says says = Says::both) { return given_as(plan_by("titan-train", kDims), says); }

TEST(GivenLayout, NamesTheElementsThatNoRankHolds) {
    GivenLayout given = given_train(Says::shards);
    auto& shards = *param_named(given, kW1).shards;
    shards.erase(shards.begin() + 2);
    const std::vector<CoverageFault> faults = coverage_faults(plan_of(given, kDims));
    ASSERT_EQ(faults.size(), 1U);
    EXPECT_EQ(faults[0].param, kW1);
    EXPECT_EQ(faults[0].why, "[4:6][0:12][0:16] is held by no rank");
    EXPECT_THAT(faults[0].index, ElementsAre(4, 0, 0));
    EXPECT_FALSE(faults[0].rank);
}

TEST(GivenLayout, NamesTheElementsThatOneRankTooManyHolds) {
    GivenLayout given = given_train(Says::shards);
    (*param_named(given, kW1).shards)[3].index[0] = {{5, 8}};
    const std::vector<CoverageFault> faults = coverage_faults(plan_of(given, kDims));
    ASSERT_EQ(faults.size(), 1U);
    EXPECT_EQ(faults[0].why, "[5:6][0:12][0:16] is held by ranks 2 3 (2), most elements by 1");
    EXPECT_EQ(faults[0].rank, Rank{3});
    EXPECT_THAT(faults[0].index, ElementsAre(5, 0, 0));
}

TEST(GivenLayout, NamesAnIndexThatOneShardHoldsTwice) {
    GivenLayout given = given_train(Says::shards);
    (*param_named(given, kW1).shards)[1].index[0] = {{2, 4}, {3, 4}};
    const std::vector<CoverageFault> faults = coverage_faults(plan_of(given, kDims));
    ASSERT_EQ(faults.size(), 1U);
    EXPECT_EQ(faults[0].why, "rank 1 holds dim 0 index 3 twice");
    EXPECT_EQ(faults[0].rank, Rank{1});
}

TEST(GivenLayout, NamesTheRankWhoseIndexAndPlacementsDiffer) {
    GivenLayout given = given_train();
    (*param_named(given, kW1).shards)[1].index[0] = {{0, 2}};
    const std::vector<CoverageFault> faults = coverage_faults(plan_of(given, kDims));
    ASSERT_FALSE(faults.empty());
    EXPECT_EQ(faults[0].why, "rank 1's index says [0:2][0:12][0:16], its placements say [2:4][0:12][0:16]");
    EXPECT_EQ(faults[0].rank, Rank{1});
}

TEST(GivenLayout, AParameterThatIsNotThereIsHeldByNobody) {
    GivenLayout given = given_train();
    std::erase_if(given.params, [](const GivenParam& param) { return param.name == "norm.weight"; });
    EXPECT_THAT(coverage_violations(plan_of(given, kDims)), ElementsAre("norm.weight: [0:16] is held by no rank"));
}

TEST(GivenLayout, PartialValuesAreHeldByNobody) {
    GivenLayout given = given_train(Says::placements);
    param_named(given, "norm.weight").placements = {{Axis::tp, Partial{}}};
    EXPECT_THAT(coverage_violations(plan_of(given, kDims)),
                ElementsAre("norm.weight: is P on axis tp: no rank holds its values"));
}

// One dim cut over both axes, unevenly: neither axis by itself says who holds what.
TEST(GivenLayout, ShardsThatAreNoProductOverAxesAreHeldAsTheyAreAndNotRun) {
    GivenLayout given = given_train(Says::shards);
    auto& shards = *param_named(given, "norm.weight").shards;
    const std::vector<IndexRuns> runs{{{0, 7}}, {{7, 9}}, {{9, 15}}, {{15, 16}}};
    for (std::size_t r = 0; r < 4; ++r) shards[r].index = {runs[r]};
    const Plan irregular = plan_of(given, kDims);
    EXPECT_THAT(coverage_violations(irregular), IsEmpty());
    const std::size_t p = irregular.param_idx("norm.weight");
    EXPECT_EQ(shard_of(irregular, p, Rank{2}), (std::vector<IndexRuns>{{{9, 15}}}));
    EXPECT_EQ(bytes_per_rank(irregular)[2] - bytes_per_rank(plan_by("titan-train", kDims))[2], 2 * (6 - 8));
    EXPECT_NE(hash_of(irregular), hash_of(plan_by("titan-train", kDims)));
    const auto reason = not_runnable(irregular);
    ASSERT_TRUE(reason);
    EXPECT_EQ(reason->param, "norm.weight");
    EXPECT_THAT(reason->why, HasSubstr("no product of placements on mesh axes"));
}

TEST(GivenLayout, ExpertsInAnyOrderAreRunAndOtherCutsAreNot) {
    GivenLayout given = given_train(Says::shards);
    const std::vector<IndexRuns> owners{{{3, 4}, {0, 1}}, {{1, 3}, {7, 8}}, {{4, 6}}, {{6, 7}}};
    for (const char* name : {"layers.1.moe.experts.w1", "layers.1.moe.experts.w2", "layers.1.moe.experts.w3"}) {
        for (std::size_t r = 0; r < 4; ++r) (*param_named(given, name).shards)[r].index[0] = owners[r];
    }
    const Plan dealt = plan_of(given, kDims);
    EXPECT_THAT(coverage_violations(dealt), IsEmpty());
    EXPECT_FALSE(not_runnable(dealt).has_value());

    GivenLayout columns = given_train(Says::placements);
    param_named(columns, "layers.0.attention.wq.weight").placements = {{Axis::tp, ShardDim{1}}};
    const auto reason = not_runnable(plan_of(columns, kDims));
    ASSERT_TRUE(reason);
    EXPECT_EQ(reason->param, "layers.0.attention.wq.weight");
    EXPECT_THAT(reason->why, HasSubstr("would compute with [0:24][0:8]"));
}

// FSDP left of tp on the same dim, plainly: every rank would gather the rows of both tp ranks' parts, interleaved.
TEST(GivenLayout, AGatherThatMixesPartsIsNotRun) {
    GivenLayout given = given_train(Says::placements);
    param_named(given, "layers.0.attention.wq.weight").placements = {{Axis::fsdp, ShardDim{0}},
                                                                     {Axis::tp, ShardDim{0}}};
    const auto reason = not_runnable(plan_of(given, kDims));
    ASSERT_TRUE(reason);
    EXPECT_EQ(reason->param, "layers.0.attention.wq.weight");
    EXPECT_THAT(reason->why, HasSubstr("group gathers"));
}

void expect_refused(const GivenLayout& given, const char* where, const char* rule) {
    EXPECT_THAT([&] { (void)plan_of(given, kDims); },
                ThrowsMessage<InputError>(AllOf(HasSubstr(where), HasSubstr(rule))));
}

TEST(GivenLayout, RefusesWhatCannotBeByItsPath) {
    GivenLayout given = given_train();
    given.params[3].name = "layers.0.nothing";
    expect_refused(given, "layout.json: params[3].name=layers.0.nothing", "must be a parameter of the model");
    given = given_train();
    given.params[3].shape = Shape{1, 2};
    expect_refused(given, "params[3].shape=[1,2]", "must be [12,16]");
    given = given_train();
    given.params[3].dtype = "F32";
    expect_refused(given, "params[3].dtype=F32", "must be BF16");
    given = given_train();
    given.params[3].placements = {{Axis::ep, ShardDim{0}}};
    expect_refused(given, "params[3].placements.ep=S(0)", "must be an axis of the mesh dense");
    given = given_train();
    given.params[3].placements = {{Axis::tp, ShardDim{2}}};
    expect_refused(given, "params[3].placements.tp=S(2)", "must name a dim");
    given = given_train(Says::placements);
    given.params[3].placements = {{Axis::tp, Owners{.dim = 0, .runs = {}}}};
    expect_refused(given, "params[3].placements.tp=O(0)", "needs shards of every coordinate");
    given = given_train();
    (*given.params[3].shards)[1].rank = Rank{0};
    expect_refused(given, "params[3].shards[1].rank=0", "must not come twice");
    (*given.params[3].shards)[1].rank = Rank{4};
    expect_refused(given, "params[3].shards[1].rank=4", "must be a rank of the world, 0 .. 3");
    given = given_train();
    (*given.params[3].shards)[1].index[0] = {{0, 4}, {4, 13}};
    expect_refused(given, "params[3].shards[1].index[0][1]=4..13", "within dim 0 of 12");
    (*given.params[3].shards)[1].index = {{{0, 4}}};
    expect_refused(given, "params[3].shards[1].index=1 entries", "must have one a dim: 2");
    given = given_train();
    given.meshes = {{.path = "meshes.dense", .kind = MeshKind::dense, .axes = {{Axis::fsdp, 4}, {Axis::tp, 1}}}};
    expect_refused(given, "meshes.dense.fsdp=4", "must be 2");
}

TEST(PlacementNamed, ReadsWhatIsPrintedAndNothingElse) {
    for (const Placement& placement : std::vector<Placement>{Replicate{}, Partial{}, ShardDim{2}, StridedShard{0, 4}})
        EXPECT_EQ(placement_named(to_string(placement)), placement);
    for (const char* text : {"", "r", "S", "S()", "S( 0)", "S(00)", "S(-1)", "SS(0)", "SS(0,0)", "X(0)", "S(0", "S(0) ",
                             "S(99999999999999999999)"})
        EXPECT_FALSE(placement_named(text)) << text;
}

}  // namespace
}  // namespace shardproof
