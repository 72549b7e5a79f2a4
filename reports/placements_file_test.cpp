#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "reports/command_runner.hpp"

namespace shardproof::reports {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

const std::string kDemo = SHARDPROOF_SOURCE_DIR "/oracle/golden/demo";

Printed run_words(std::vector<std::string> words, const std::vector<std::string>& more) {
    words.insert(words.end(), more.begin(), more.end());
    return run_command_line(words);
}

json printed_plan(const std::vector<std::string>& layout) {
    const Printed printed = run_words({"plan", kDemo, "--json", "-"}, layout);
    EXPECT_EQ(printed.code, 0) << printed.err;
    return json::parse(printed.out);
}

const std::vector<std::vector<std::string>> kLayouts{
    {"--dp-shard", "4", "--tp", "2", "--ep", "8"},
    {"--rules", "titan-train", "--dp-shard", "4", "--tp", "2", "--ep", "4"},
    {"--rules", "titan-train", "--dp-replicate", "2", "--dp-shard", "3", "--tp", "2"}};

TEST(PlacementsFile, APlanReadBackPrintsTheSame) {
    const TemporaryFolder folder;
    for (const auto& layout : kLayouts) {
        const json plan = printed_plan(layout);
        write_text(folder / "plan.json", plan.dump());
        EXPECT_EQ(printed_plan({"--placements", folder / "plan.json"}), plan);
        const Printed checked =
            run_command_line({"check", kDemo, "--tokens", "9", "--placements", folder / "plan.json"});
        EXPECT_EQ(checked.code, 0) << checked.out << checked.err;
    }
}

// Recorded from FSDP2 and DTensor of torch 2.11 (cases/dtensor/export.py): what they hold is what titan-train plans.
TEST(PlacementsFile, PlacementsOfTorchAreThoseOfTitanTrain) {
    const std::vector<std::string> degrees{"--dp-shard", "4", "--tp", "2", "--ep", "4"};
    const std::string file = SHARDPROOF_SOURCE_DIR "/sim/plan/cases/dtensor/placements.json";
    std::vector<std::string> words = degrees;
    words.insert(words.end(), {"--placements", file});
    json theirs = printed_plan(words);
    words = degrees;
    words.insert(words.end(), {"--rules", "titan-train"});
    json ours = printed_plan(words);
    EXPECT_EQ(theirs["rules"], "placements");
    theirs.erase("rules");
    ours.erase("rules");
    EXPECT_EQ(theirs, ours);
}

TEST(PlacementsFile, WhatIsNotHeldFailsCheckAndLoadByName) {
    const TemporaryFolder folder;
    json plan = printed_plan(kLayouts[0]);
    for (json& param : plan["params"]) {
        if (param["name"] == "layers.1.moe.experts.w1") param["shards"][5]["index"][0] = json::parse("[[0,2]]");
    }
    write_text(folder / "plan.json", plan.dump());
    const std::string line =
        "layers.1.moe.experts.w1: rank 5's index says [0:2][0:40][0:64], its placements say [10:12]";
    const Printed planned = run_command_line({"plan", kDemo, "--placements", folder / "plan.json", "--json", "-"});
    EXPECT_EQ(planned.code, 0);
    EXPECT_THAT(json::parse(planned.out)["violations"][0].get<std::string>(), HasSubstr(line));
    const Printed loaded = run_command_line({"load", kDemo, "--placements", folder / "plan.json", "--dry-run"});
    EXPECT_EQ(loaded.code, 1);
    EXPECT_THAT(loaded.out, AllOf(HasSubstr("does not cover the model"), HasSubstr(line),
                                  HasSubstr("[10:12][0:40][0:64] is held by no rank")));
    const Printed checked = run_command_line({"check", kDemo, "--placements", folder / "plan.json", "--json", "-"});
    EXPECT_EQ(checked.code, 1) << checked.err;
    const json failure = json::parse(checked.out)["failure"];
    EXPECT_EQ(failure["layer"], "layers.1.moe.experts.w1");
    EXPECT_EQ(failure["rank"], 5);
    EXPECT_THAT(json::parse(checked.out)["replay"].get<std::string>(), HasSubstr("--placements"));
}

TEST(PlacementsFile, WhatNoRuleSetComputesIsRefusedByCheckAndLoaded) {
    const TemporaryFolder folder;
    json plan = printed_plan(kLayouts[0]);
    for (json& param : plan["params"]) {
        param.erase("shards");
        if (param["name"] == "layers.0.attention.wq.weight") param["placements"]["tp"] = "S(1)";
    }
    write_text(folder / "plan.json", plan.dump());
    const Printed checked = run_command_line({"check", kDemo, "--placements", folder / "plan.json"});
    EXPECT_EQ(checked.code, 2);
    EXPECT_THAT(checked.err, AllOf(HasSubstr("layers.0.attention.wq.weight"), HasSubstr("cannot be run")));
    EXPECT_EQ(run_command_line({"load", kDemo, "--placements", folder / "plan.json", "--dry-run"}).code, 0);
}

void expect_refused(const json& file, const char* where, const char* rule) {
    const TemporaryFolder folder;
    write_text(folder / "f.json", file.dump());
    const Printed printed = run_command_line({"plan", kDemo, "--dp-shard", "1", "--placements", folder / "f.json"});
    EXPECT_EQ(printed.code, 2);
    EXPECT_EQ(printed.out, "");
    EXPECT_THAT(printed.err, AllOf(HasSubstr(where), HasSubstr(rule)));
}

TEST(PlacementsFile, RefusesABrokenFormByThePathOfTheField) {
    const json good =
        json::parse(R"({"params": [{"name": "norm.weight", "mesh": "dense", "placements": {"tp": "R"}}]})");
    const auto with = [&](const char* pointer, const json& value) {
        json changed = good;
        changed[json::json_pointer(pointer)] = value;
        return changed;
    };
    expect_refused(json::parse("[]"), "f.json", "must be an object");
    expect_refused(json::parse("{}"), "params", "must be there");
    expect_refused(with("/parms", 1), "parms", "is no field of this form");
    expect_refused(with("/params/0/placement", 1), "params[0].placement", "is no field of this form");
    expect_refused(with("/a.b\n", 1), "f.json: \"a.b\\n\": ", "is no field of this form");
    expect_refused(json::parse("{\"" + std::string(100'000, 'k') + "\": 1}"), "kkk...\": ", "is no field of this form");
    expect_refused(with("/params/0/placements/tp", "S"), "params[0].placements.tp=\"S\"", "must be R, P, S(d)");
    expect_refused(with("/params/0/placements/tp", 3), "params[0].placements.tp=3", "must be a string");
    expect_refused(with("/params/0/placements/dp", "R"), "params[0].placements.dp", "name of an axis");
    expect_refused(with("/params/0/mesh", "flat"), "params[0].mesh=\"flat\"", "must be dense or sparse");
    expect_refused(with("/params/0/shape", json::parse("[-1]")), "params[0].shape[0]=-1", "must be a whole number");
    expect_refused(with("/params/1", good["params"][0]), "params[1].name", "must not come twice: it is params[0]");
    expect_refused(with("/params/0/shards", json::parse(R"([{"rank": 0, "index": [[[0]]]}])")),
                   "params[0].shards[0].index[0][0]=[0]", "must be [start, stop)");
    expect_refused(with("/dims", json::parse(R"({"tp": 0})")), "dims.tp=0", "must be >= 1");
    expect_refused(with("/dims", json::parse(R"({"ep": 3})")), "dims.ep=3", "must divide");
    expect_refused(with("/world", 3), "world=3", "must be 1");
    json bare = good;
    bare["params"][0].erase("placements");
    expect_refused(bare, "params[0]", "must have placements, or shards");
}

// Storage follows one split factor; another is another layout, which must not be taken for ours.
TEST(PlacementsFile, RefusesASplitFactorThatLaterAxesDoNotMake) {
    json file;
    std::ifstream(SHARDPROOF_SOURCE_DIR "/sim/plan/cases/dtensor/placements.json") >> file;
    const TemporaryFolder folder;
    const auto planned = [&](const char* name, const char* placement) {
        json changed = file;
        for (json& param : changed["params"]) {
            if (param["name"] == name) param["placements"]["fsdp"] = placement;
        }
        write_text(folder / "f.json", changed.dump());
        return run_command_line(
            {"plan", kDemo, "--dp-shard", "4", "--tp", "2", "--ep", "4", "--placements", folder / "f.json"});
    };
    constexpr const char* kWq = "layers.1.attention.wq.weight";
    EXPECT_EQ(planned(kWq, "SS(0,2)").code, 0);
    for (const char* other : {"SS(0,4)", "SS(0,1)", "SS(0,1000000)"}) {
        const Printed printed = planned(kWq, other);
        EXPECT_EQ(printed.code, 2) << other;
        EXPECT_THAT(printed.err, AllOf(HasSubstr(std::string{".placements.fsdp="} + other), HasSubstr("split into 2")));
    }
    EXPECT_THAT(planned("norm.weight", "SS(0,64)").err, HasSubstr("must split into 1"));
    EXPECT_EQ(planned("norm.weight", "SS(0,1)").code, 0);  // S(0) by another name
}

TEST(PlacementsFile, RefusesWhatContradictsMeshesAndCheckpoint) {
    const json plan = printed_plan(kLayouts[0]);
    const auto with = [&](const char* pointer, const json& value) {
        json changed = plan;
        changed[json::json_pointer(pointer)] = value;
        return changed;
    };
    const TemporaryFolder folder;
    const auto expect = [&](const json& file, const char* where, const char* rule) {
        write_text(folder / "f.json", file.dump());
        const Printed printed = run_command_line({"check", kDemo, "--placements", folder / "f.json"});
        EXPECT_EQ(printed.code, 2);
        EXPECT_THAT(printed.err, AllOf(HasSubstr(where), HasSubstr(rule)));
    };
    expect(with("/groups/tp/0", json::parse("[0,7]")), "groups.tp", "must be the groups that meshes and degrees make");
    expect(with("/groups/ring", json::array()), "groups.ring", "name of an axis");
    expect(with("/groups", 5), "groups=5", "must be an object");
    expect(with("/rules", "evil\x1b[31m"), "rules=", "must be a word");
    json swapped = plan;
    json *w1 = nullptr, *w3 = nullptr;
    for (json& param : swapped["params"]) {
        if (param["name"] == "layers.1.moe.experts.w1") w1 = &param;
        if (param["name"] == "layers.1.moe.experts.w3") w3 = &param;
    }
    std::swap((*w1)["checkpoint"], (*w3)["checkpoint"]);
    expect(swapped, "checkpoint[0]=model.layers.1.mlp.experts.0.up_proj.weight",
           "must be model.layers.1.mlp.experts.0");
}

TEST(PlacementsFile, NeedsDegreesFromSomewhere) {
    const std::string file = SHARDPROOF_SOURCE_DIR "/sim/plan/cases/dtensor/placements.json";
    const Printed printed = run_command_line({"check", kDemo, "--placements", file});
    EXPECT_EQ(printed.code, 2);
    EXPECT_THAT(printed.err, AllOf(HasSubstr("--dp-shard"), HasSubstr("has no dims")));
}

// Two ranks that should own the same do not.
TEST(PlacementsFile, OwnersThatDisagreeAreNamed) {
    const TemporaryFolder folder;
    json plan = printed_plan({"--rules", "vllm", "--dp-shard", "4", "--tp", "2", "--vllm-expert-placement-strategy",
                              "round_robin", "--ep", "8"});
    for (json& param : plan["params"]) {
        if (param["name"] != "layers.1.attention.wk.weight") continue;
        param["placements"]["tp"] = "O(0)";
        param["shards"][4]["index"][0] = json::parse("[[12,24]]");
    }
    write_text(folder / "plan.json", plan.dump());
    const Printed checked = run_command_line({"load", kDemo, "--dry-run", "--placements", folder / "plan.json"});
    EXPECT_EQ(checked.code, 1);
    EXPECT_THAT(checked.out, HasSubstr("layers.1.attention.wk.weight: rank 4's index says [12:24]"));
}

TEST(PlacementsFile, DegreesTypedMustBeThoseOfTheFile) {
    const TemporaryFolder folder;
    write_text(folder / "plan.json", printed_plan(kLayouts[0]).dump());
    const Printed other = run_command_line({"plan", kDemo, "--placements", folder / "plan.json", "--tp", "4"});
    EXPECT_EQ(other.code, 2);
    EXPECT_THAT(other.err, HasSubstr("--dp-shard=1: must be 4"));
    const Printed rules =
        run_command_line({"plan", kDemo, "--placements", folder / "plan.json", "--rules", "titan-train"});
    EXPECT_EQ(rules.code, 2);
    EXPECT_EQ(run_command_line({"plan", kDemo, "--placements", folder / "plan.json", "--rules", "titan-infer"}).code,
              2);
    EXPECT_THAT(rules.err, HasSubstr("--rules=titan-train: must not be given together with --placements"));
}

}  // namespace
}  // namespace shardproof::reports
