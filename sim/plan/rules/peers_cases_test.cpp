// Reproduces what vLLM's and Megatron's own algorithms give each rank (cases/peers/README.md).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "oracle/model/error.hpp"
#include "sim/plan/plan.hpp"
#include "sim/plan/test_params.hpp"

namespace shardproof {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

const json& cases_of(const std::string& rules) {
    static std::map<std::string, json> read;
    if (!read.contains(rules)) {
        std::ifstream stream{std::filesystem::path{SHARDPROOF_SOURCE_DIR} / "sim/plan/cases/peers" / (rules + ".json")};
        read[rules] = json::parse(stream);
    }
    return read[rules];
}

Plan plan_of(const testing::Sizes& sizes, const RawDims& raw, const std::string& rules,
             const RuleOptions& options = {}) {
    std::vector<Parameter> parameters = testing::parameters_of(sizes);
    if (raw.pp > 1) parameters.clear();
    const std::vector<DType> dtypes(parameters.size(), DType::F32);
    return make_plan(testing::config_of(sizes), std::move(parameters), dtypes, ParallelDims::parse(raw),
                     rule_set_named(rules), options);
}

testing::Sizes sizes_of(const json& m) {
    return {.experts = m.at("E"),
            .hidden = m.at("D"),
            .heads = m.at("H"),
            .kv_heads = m.at("KV"),
            .head_dim = m.at("hd"),
            .expert_hidden = m.at("F"),
            .vocab = m.at("V")};
}

RawDims dims_of(const json& layout) {
    RawDims raw;
    raw.dp_shard = layout.at("dp_shard");
    raw.tp = layout.at("tp");
    raw.ep = layout.at("ep");
    raw.cp = layout.value("cp", 1);
    raw.pp = layout.value("pp", 1);
    if (layout.contains("etp")) raw.etp = layout["etp"];
    return raw;
}

RuleOptions options_of(const json& recorded) {
    RuleOptions options;
    const json said = recorded.value("options", json::object());
    if (said.value("strategy", "linear") == "round_robin") options.expert_order = ExpertOrder::round_robin;
    if (said.contains("physical_to_logical_map") && !said["physical_to_logical_map"].is_null())
        options.expert_map = {said["physical_to_logical_map"].get<std::vector<std::int64_t>>()};
    return options;
}

json to_json(const std::vector<std::vector<Rank>>& groups) {
    json result = json::array();
    for (const auto& group : groups) {
        result.push_back(json::array());
        for (const Rank rank : group) result.back().push_back(rank.value());
    }
    return result;
}

json to_json(const std::vector<IndexRuns>& index) {
    json result = json::array();
    for (const IndexRuns& runs : index) {
        result.push_back(json::array());
        for (const Run& run : runs) result.back().push_back({run.begin, run.end});
    }
    return result;
}

struct PeerCase {
    std::string rules;
    std::size_t number;
};

class PeerCases : public ::testing::TestWithParam<PeerCase> {
protected:
    const json& recorded_ = cases_of(GetParam().rules).at(GetParam().number);
    Plan plan_ = plan_of(sizes_of(recorded_.at("model")), dims_of(recorded_.at("layout")), GetParam().rules,
                         options_of(recorded_));
};

TEST_P(PeerCases, GroupsAreThePeers) {
    std::map<std::string, json> ours;
    for (const NamedGroups& named : named_groups(plan_.meshes)) ours[named.name] = to_json(named.groups);
    for (const auto& [name, groups] : recorded_.at("groups").items()) EXPECT_EQ(ours.at(name), groups) << name;
}

TEST_P(PeerCases, EveryRankHoldsWhatThePeersHolds) {
    for (const auto& [name, ranks] : recorded_.at("index").items()) {
        ASSERT_EQ(ranks.size(), static_cast<std::size_t>(plan_.world()));
        for (std::int64_t rank = 0; rank < plan_.world(); ++rank)
            EXPECT_EQ(to_json(shard_of(plan_, plan_.param_idx(name), Rank{rank})),
                      ranks[static_cast<std::size_t>(rank)])
                << name << " on rank " << rank;
    }
}

TEST_P(PeerCases, EveryElementIsHeld) { EXPECT_THAT(coverage_violations(plan_), ::testing::IsEmpty()); }

std::vector<PeerCase> all_cases() {
    std::vector<PeerCase> cases;
    for (const char* rules : {"megatron", "vllm"}) {
        for (std::size_t i = 0; i < cases_of(rules).size(); ++i) cases.push_back({rules, i});
    }
    return cases;
}
INSTANTIATE_TEST_SUITE_P(Recorded, PeerCases, ::testing::ValuesIn(all_cases()),
                         [](const auto& one) { return one.param.rules + std::to_string(one.param.number); });

TEST(PeerCases, AreAllThere) {
    EXPECT_EQ(cases_of("megatron").size(), 15U);
    EXPECT_EQ(cases_of("vllm").size(), 17U);
}

// --- what they refuse

struct Refusal {
    const char* rules;
    RawDims dims;
    testing::Sizes sizes;
    const char* field;
    const char* rule;
};
class PeersRefuse : public ::testing::TestWithParam<Refusal> {};
TEST_P(PeersRefuse, ByOptionAndRule) {
    const Refusal& r = GetParam();
    EXPECT_THAT([&] { (void)plan_of(r.sizes, r.dims, r.rules); },
                ThrowsMessage<InputError>(AllOf(HasSubstr(r.field), HasSubstr(r.rule))));
}

RawDims degrees(std::int64_t dp, std::int64_t tp, std::int64_t ep, std::optional<std::int64_t> etp = std::nullopt) {
    return {.dp_shard = dp, .tp = tp, .ep = ep, .etp = etp, .world = std::nullopt};
}
RawDims replicated(std::int64_t replicas) { return {.dp_replicate = replicas, .etp = {}, .world = std::nullopt}; }
RawDims staged(std::int64_t stages) { return {.pp = stages, .etp = {}, .world = std::nullopt}; }

INSTANTIATE_TEST_SUITE_P(
    All, PeersRefuse,
    ::testing::Values(
        Refusal{"vllm", replicated(2), {}, "--dp-replicate=2", "must be 1 for rules vllm"},
        Refusal{"vllm", staged(2), {}, "--pp=2", "must be 1 for rules vllm"},
        Refusal{"vllm", degrees(2, 2, 2), {}, "--ep=2", "must be 1 or dp_shard*tp (4)"},
        Refusal{"vllm", degrees(1, 3, 1), {.heads = 4}, "--tp=3", "num_attention_heads (4)"},
        Refusal{
            "vllm", degrees(1, 6, 1), {.heads = 12, .kv_heads = 4}, "--tp=6", "multiple of num_key_value_heads (4)"},
        Refusal{"vllm", degrees(1, 2, 1), {.heads = 6, .kv_heads = 3}, "--tp=2", "num_key_value_heads (3)"},
        Refusal{"vllm", degrees(1, 3, 1), {.heads = 6, .kv_heads = 3}, "--tp=3", "the padded vocab_size (64)"},
        Refusal{"vllm", degrees(1, 2, 1), {.dense_hidden = 7}, "--tp=2", "intermediate_size (7)"},
        Refusal{"vllm", degrees(5, 1, 1), {}, "--dp-shard=5", "moe_intermediate_size (12)"},
        Refusal{"vllm", degrees(5, 2, 10), {}, "--ep=10", "must be <= num_experts (8)"},
        Refusal{"vllm", degrees(2, 2, 4, 2), {}, "--etp=2", "must divide dp_shard*cp*tp"},
        Refusal{"vllm", degrees(2, 2, 1, 2), {}, "--etp=2", "must not be given for rules vllm"},
        Refusal{"titan-train", degrees(2, 2, 1, 2), {}, "--etp=2", "must not be given for rules titan-train"},
        Refusal{"megatron", replicated(2), {}, "--dp-replicate=2", "must be 1 for rules megatron"},
        Refusal{"megatron", degrees(2, 4, 1, 1), {}, "--tp=4", "num_key_value_heads (2)"},
        Refusal{"megatron", degrees(3, 1, 3, 1), {}, "--ep=3", "num_experts (8)"},
        Refusal{"megatron", degrees(8, 1, 1, 8), {}, "--etp=8", "moe_intermediate_size (12)"},
        Refusal{
            "megatron", degrees(4, 2, 4, 4), {}, "--etp=4", "times ep (4) must divide dp_shard*cp*tp (4*1*2) = 8"}));

// --- vLLM's map of slots

void expect_map_refused(const std::vector<std::vector<std::int64_t>>& map, std::int64_t ep, const char* field,
                        const char* rule) {
    RuleOptions options{.expert_order = ExpertOrder::linear, .expert_map = map, .expert_map_file = "map.json"};
    EXPECT_THAT([&] { (void)plan_of({.experts = 4}, degrees(ep, 1, ep), "vllm", options); },
                ThrowsMessage<InputError>(AllOf(HasSubstr("map.json"), HasSubstr(field), HasSubstr(rule))));
}

TEST(ExpertMapOfVllm, IsRefusedByTheFieldThatIsWrong) {
    expect_map_refused({{0, 1, 2, 3, 0}}, 2, "physical_to_logical_map=5", "number of slots that ep (2) divides");
    expect_map_refused({{0, 1, 2, 4}}, 2, "physical_to_logical_map[3]=4", "must be an expert, 0 .. 3");
    expect_map_refused({{0, 1, 2, -1}}, 2, "physical_to_logical_map[3]=-1", "must be an expert, 0 .. 3");
    expect_map_refused({{0, 1, 1, 3}}, 2, "physical_to_logical_map=2", "is an expert without a slot");
    expect_map_refused({{0, 1, 0, 3, 2, 1}}, 2, "physical_to_logical_map[2]=0", "must not come twice on ep rank 0");
    expect_map_refused({{0, 1, 2, 3}, {0, 1, 2, 3}}, 2, "physical_to_logical_map=2",
                       "one for each of the 1 MoE layers");
}

TEST(ExpertMapOfVllm, NeedsExpertParallelismAndRulesThatKnowIt) {
    const RuleOptions map{.expert_order = ExpertOrder::linear, .expert_map = {{0, 1, 2, 3}}, .expert_map_file = "m"};
    EXPECT_THAT([&] { (void)plan_of({.experts = 4}, degrees(2, 1, 1), "vllm", map); },
                ThrowsMessage<InputError>(AllOf(HasSubstr("--ep=1"), HasSubstr("--expert-map"))));
    EXPECT_THAT([&] { (void)plan_of({.experts = 4}, degrees(2, 1, 2), "titan-infer", map); },
                ThrowsMessage<InputError>(AllOf(HasSubstr("--expert-map=m"), HasSubstr("rules titan-infer"))));
    RuleOptions both = map;
    both.expert_order = ExpertOrder::round_robin;
    EXPECT_THAT([&] { (void)plan_of({.experts = 4}, degrees(2, 1, 2), "vllm", both); },
                ThrowsMessage<InputError>(HasSubstr("--vllm-expert-placement-strategy=round_robin")));
}

TEST(ExpertMapOfVllm, MayDifferFromLayerToLayer) {
    const RuleOptions options{
        .expert_order = ExpertOrder::linear, .expert_map = {{0, 1, 2, 3}, {3, 2, 1, 0}}, .expert_map_file = "m"};
    // Layer 0 is dense: the lists are of MoE layers.
    const Plan plan = plan_of({.experts = 4, .layers = 3, .dense_hidden = 8}, degrees(2, 1, 2), "vllm", options);
    const auto experts = [&](const char* name) { return shard_of(plan, plan.param_idx(name), Rank{0})[0]; };
    EXPECT_EQ(experts("layers.1.moe.experts.w1"), (IndexRuns{{0, 2}}));
    EXPECT_EQ(experts("layers.2.moe.experts.w1"), (IndexRuns{{3, 4}, {2, 3}}));
}

}  // namespace
}  // namespace shardproof
