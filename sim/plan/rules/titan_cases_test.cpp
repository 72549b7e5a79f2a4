// Reproduces every answer recorded from torchtitan (cases/titan/README.md).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "oracle/model/error.hpp"
#include "sim/plan/plan.hpp"
#include "sim/plan/test_params.hpp"

namespace shardproof {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

const fs::path& folder() {
    static const fs::path path = fs::path{SHARDPROOF_SOURCE_DIR} / "sim/plan/cases/titan";
    return path;
}

json read_json(const fs::path& file) {
    std::ifstream stream{file};
    EXPECT_TRUE(stream) << file;
    return json::parse(stream);
}

testing::Sizes sizes_of(const std::string& model) {
    static const json models = read_json(folder() / "models.json");
    const json& m = models.at(model);
    return {.experts = m.at("E"),
            .layers = m.at("L"),
            .hidden = m.at("D"),
            .heads = m.at("H"),
            .kv_heads = m.at("KV"),
            .head_dim = m.at("hd"),
            .expert_hidden = m.at("F"),
            .vocab = m.at("V"),
            .dense_hidden = m.at("dense"),
            .tied = m.value("tied", 0) != 0,
            .expert_bias = true};
}

RawDims dims_of(const json& layout) {
    RawDims dims;
    dims.dp_replicate = layout.at("dp_replicate");
    dims.dp_shard = layout.at("dp_shard");
    dims.cp = layout.at("cp");
    dims.tp = layout.at("tp");
    dims.pp = layout.at("pp");
    dims.ep = layout.at("ep");
    return dims;
}

Plan plan_of(const std::string& model, const RawDims& raw, const std::string& rules) {
    const testing::Sizes sizes = sizes_of(model);
    std::vector<Parameter> parameters = testing::parameters_of(sizes);
    const std::vector<DType> dtypes(parameters.size(), DType::F32);
    return make_plan(testing::config_of(sizes), std::move(parameters), dtypes, ParallelDims::parse(raw),
                     rule_set_named(rules));
}

json to_json(const std::vector<IndexRuns>& index) {
    json result = json::array();
    for (const IndexRuns& runs : index) {
        json list = json::array();
        for (const Run& run : runs) list.push_back({run.begin, run.end});
        result.push_back(list);
    }
    return result;
}

// Torchtitan's placements on our axes: one that it leaves out replicates, and so does one of size 1.
std::vector<std::string> expected_placements(const json& param, const Mesh& mesh) {
    std::vector<std::string> expected;
    for (const MeshAxis& axis : mesh.axes()) {
        std::string placement = "R";
        for (std::size_t i = 0; i < param.at("mesh").size(); ++i) {
            if (param.at("mesh")[i] == name_of(axis.axis) && axis.size > 1) placement = param.at("placements")[i];
        }
        expected.push_back(placement);
    }
    return expected;
}

// The first difference between a plan and one recorded variant; empty where there is none.
std::string difference(const Plan& plan, const json& variant) {
    std::size_t num_compared = 0;
    for (const json& param : variant.at("params")) {
        const std::string name = param.at("name");
        // A tied head is torchtitan's second name of the embeddings; ours lists them once.
        if (plan.config.tie_embeddings && name == "lm_head.weight") continue;
        ++num_compared;
        const std::size_t i = plan.param_idx(name);
        const ParamPlan& ours = plan.params[i];
        if (param.at("shape") != json(ours.parameter.shape)) return name + ": another shape";
        const Mesh& mesh = plan.mesh(ours.placement.mesh);
        std::vector<std::string> placements;
        for (const Placement& placement : ours.placement.placements) placements.push_back(to_string(placement));
        if (placements != expected_placements(param, mesh)) {
            return name + ": placements " + json(placements).dump() + ", not " + param.at("placements").dump();
        }
        for (std::int64_t rank = 0; rank < plan.world(); ++rank) {
            const json& box =
                variant.at("boxes").at(param.at("box_of_rank").at(static_cast<std::size_t>(rank)).get<std::size_t>());
            const json index = to_json(shard_of(plan, i, Rank{rank}));
            if (index != box) {
                return name + " on rank " + std::to_string(rank) + ": " + index.dump() + ", not " + box.dump();
            }
            const json described =
                param.contains("dtensor_declares") ? param["dtensor_declares"].value(std::to_string(rank), box) : box;
            const json said =
                to_json(described_index({&mesh, ours.placement.placements}, ours.parameter.shape, Rank{rank}));
            if (said != described) return name + " on rank " + std::to_string(rank) + ": described as " + said.dump();
        }
    }
    if (num_compared != plan.params.size()) return "another number of parameters";
    return {};
}

// Parameters whose DTensor placements contradict their storage. The backend spmd_types also contradicts itself about
// global shapes (it declares ceil(n/k) on every rank), which no placement can express.
std::set<std::string> described_wrongly(const json& recorded) {
    std::set<std::string> names;
    for (const auto& [backend, wrong] : recorded.at("dtensor_description_wrong").items()) {
        if (backend == "spmd_types") continue;
        for (const std::string name : wrong) names.insert(name);
    }
    return names;
}

std::vector<std::string> case_files(const std::string& prefix = "titan-") {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder())) {
        const std::string name = entry.path().filename().string();
        if (name.starts_with(prefix)) names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
}

TEST(TitanCases, AreAllThere) { EXPECT_EQ(case_files().size(), 61U); }

class TitanCase : public ::testing::TestWithParam<std::string> {
protected:
    json recorded_ = read_json(folder() / GetParam());
    Plan plan_ = plan_of(recorded_.at("model"), dims_of(recorded_.at("layout")), recorded_.at("rules"));
};

TEST_P(TitanCase, GroupsAreTorchtitans) {
    ASSERT_EQ(plan_.world(), recorded_.at("world"));
    std::size_t num_compared = 0;
    for (const NamedGroups& named : named_groups(plan_.meshes)) {
        json groups = json::array();
        for (const auto& group : named.groups) {
            groups.push_back(json::array());
            for (const Rank rank : group) groups.back().push_back(rank.value());
        }
        EXPECT_EQ(groups, recorded_.at("groups").at(named.name)) << named.name;
        ++num_compared;
    }
    EXPECT_EQ(num_compared, recorded_.at("groups").size());
}

TEST_P(TitanCase, PlacementsAndIndexRunsAreThoseOfOneBackend) {
    std::string differences;
    for (const json& variant : recorded_.at("variants")) {
        const std::string found = difference(plan_, variant);
        if (found.empty()) return;
        differences += variant.at("backends").dump() + " " + found + "\n";
    }
    FAIL() << differences;
}

TEST_P(TitanCase, WarnsExactlyWhereDTensorDescribesAnotherShard) {
    std::set<std::string> warned;
    for (const std::string& warning : plan_.warnings) warned.insert(warning.substr(0, warning.find(':')));
    EXPECT_EQ(warned, described_wrongly(recorded_));
}

TEST_P(TitanCase, EveryElementIsHeldOnceAReplica) { EXPECT_THAT(coverage_violations(plan_), ::testing::IsEmpty()); }

// The shard-placement function of inference on FSDP's meshes is that of training, which was recorded.
class TrainingCase : public TitanCase {};
TEST_P(TrainingCase, IsWhatInferenceOverFsdpHolds) {
    const RawDims dims = dims_of(recorded_.at("layout"));
    if (dims.cp != 1 || dims.pp != 1) {
        EXPECT_THROW((void)plan_of(recorded_.at("model"), dims, "titan-infer-fsdp"), InputError);
        return;
    }
    const Plan plan = plan_of(recorded_.at("model"), dims, "titan-infer-fsdp");
    std::string differences;
    for (const json& variant : recorded_.at("variants")) {
        const std::string found = difference(plan, variant);
        if (found.empty()) return;
        differences += variant.at("backends").dump() + " " + found + "\n";
    }
    FAIL() << differences;
}

std::string test_name(const ::testing::TestParamInfo<std::string>& info) {
    std::string name = info.param.substr(0, info.param.find('.'));
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
}
INSTANTIATE_TEST_SUITE_P(Recorded, TitanCase, ::testing::ValuesIn(case_files()), test_name);
INSTANTIATE_TEST_SUITE_P(Recorded, TrainingCase, ::testing::ValuesIn(case_files("titan-train-")), test_name);

// The option, as ours is spelled, that must be named for each of torchtitan's reasons.
std::string option_for(const std::string& why) {
    if (why.find("ep must") != std::string::npos) return "--ep";
    if (why.find("multiply to the world") != std::string::npos) return "--world";
    if (why.find("num_key_value_heads") != std::string::npos) return "--tp";
    if (why.find("dim 1 unevenly") != std::string::npos) return "--dp-shard";
    return {};
}

TEST(TitanCases, WhatTorchtitanRefusesIsRefusedByName) {
    const json refused = read_json(folder() / "refused.json");
    ASSERT_EQ(refused.at("must_refuse").size(), 10U);
    for (const json& layout : refused.at("must_refuse")) {
        SCOPED_TRACE(layout.at("name").get<std::string>());
        RawDims raw = dims_of(layout.at("layout"));
        if (layout.at("say_world")) raw.world = layout.at("world");
        try {
            (void)plan_of(layout.at("model"), raw, layout.at("rules"));
            ADD_FAILURE() << "planned";
        } catch (const InputError& error) {
            EXPECT_EQ(error.parts().file, "command line");
            EXPECT_THAT(error.what(), ::testing::HasSubstr(option_for(layout.at("why"))));
        }
    }
}

}  // namespace
}  // namespace shardproof
