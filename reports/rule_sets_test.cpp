// Rule sets through the command line: the specimen is refused with its reasons, the others hold.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "reports/command_runner.hpp"

namespace shardproof::reports {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string kDemo = SHARDPROOF_SOURCE_DIR "/oracle/golden/demo";

Printed on_demo(std::vector<std::string> args) {
    args.insert(args.begin() + 1, kDemo);
    return run_command_line(args);
}

const std::vector<std::string> kSpecimen{"--rules", "pr-3143", "--dp-shard", "2", "--tp", "2", "--ep", "4"};
Printed specimen(std::vector<std::string> args) {
    args.insert(args.end(), kSpecimen.begin(), kSpecimen.end());
    return on_demo(args);
}

TEST(Specimen, IsPlannedAsItWasWritten) {
    const Printed printed = specimen({"plan", "--json", "-"});
    ASSERT_EQ(printed.code, 0) << printed.err;
    const json plan = json::parse(printed.out);
    EXPECT_EQ(plan["meshes"]["dense"]["axes"], json({"pp", "fsdp", "dp_replicate", "tp"}));
    EXPECT_EQ(plan["meshes"]["sparse"]["axes"], json({"pp", "efsdp", "dp_replicate", "ep"}));
    const auto wq = std::ranges::find_if(
        plan["params"], [](const json& param) { return param["name"] == "layers.1.attention.wq.weight"; });
    ASSERT_NE(wq, plan["params"].end());
    EXPECT_EQ((*wq)["placements"]["fsdp"], "SS(0,2)");
    EXPECT_EQ((*wq)["declared"]["axes"], json({"fsdp", "dp_replicate", "tp"}));
    EXPECT_EQ((*wq)["declared"]["placements"], json({"SS(0,2)", "S(0)"}));
    for (const char* reason :
         {"shards over the second axis", "size() counts ranks", "has no placement", "loading takes it for R"}) {
        EXPECT_THAT(printed.err, HasSubstr(reason));
    }
}

// Each of the four blockers with the others mended in what the plan declares, read back as another program's layout.
struct Blocker {
    const char* name;
    const char* reason;
};
void mend(json& param, std::string_view blocker) {
    json& declared = param["declared"];
    if (blocker == "order") declared["fsdp_mesh"] = {"dp_replicate", declared["fsdp_mesh"][0]};
    if (blocker == "size") declared.erase("asserted_ranks");
    while (blocker == "count" && declared["placements"].size() < declared["axes"].size())
        declared["placements"].push_back("R");
    if (blocker != "loading") return;
    for (auto& [axis, taken_for] : declared["loaded_as"].items()) taken_for = param["placements"][axis];
}

class EachBlocker : public testing::TestWithParam<Blocker> {};

TEST_P(EachBlocker, AloneFailsCheckAndLoad) {
    json plan = json::parse(specimen({"plan", "--json", "-"}).out);
    for (json& param : plan["params"]) {
        for (const std::string_view other : {"order", "size", "count", "loading"}) {
            if (other != GetParam().name) mend(param, other);
        }
    }
    const TemporaryFolder folder;
    write_text(folder / "plan.json", plan.dump());
    for (const std::vector<std::string>& words :
         {std::vector<std::string>{"check"}, std::vector<std::string>{"load", "--dry-run"}}) {
        std::vector<std::string> args = words;
        args.insert(args.end(), {"--placements", folder / "plan.json"});
        const Printed printed = on_demo(args);
        EXPECT_EQ(printed.code, 1) << printed.err << printed.out;
        EXPECT_THAT(printed.out, AllOf(HasSubstr(": axis "), HasSubstr(GetParam().reason)));
    }
    for (json& param : plan["params"]) mend(param, GetParam().name);
    write_text(folder / "plan.json", plan.dump());
    const Printed mended = on_demo({"load", "--dry-run", "--placements", folder / "plan.json"});
    EXPECT_EQ(mended.code, 0) << mended.out << mended.err;
}

INSTANTIATE_TEST_SUITE_P(All, EachBlocker,
                         testing::Values(Blocker{"order", "shards over the second axis"},
                                         Blocker{"size", "size() counts ranks"}, Blocker{"count", "has no placement"},
                                         Blocker{"loading", "loading takes it for R"}),
                         [](const auto& instance) { return std::string{instance.param.name}; });

TEST(Specimen, FailsCheckByParameterAxisAndReason) {
    const Printed printed = specimen({"check", "--json", "-"});
    EXPECT_EQ(printed.code, 1) << printed.err;
    const json answer = json::parse(printed.out);
    EXPECT_FALSE(answer["ok"]);
    EXPECT_EQ(answer["rules"], "pr-3143");
    EXPECT_EQ(answer["failure"]["layer"], "tok_embeddings.weight");
    EXPECT_THAT(answer["failure"]["why"].get<std::string>(),
                AllOf(HasSubstr("axis dp_replicate"), HasSubstr("shards over the second axis")));
    EXPECT_FALSE(answer["load"]["ok"]);
    EXPECT_GT(answer["load"]["bytes_planned"], 0);
    EXPECT_EQ(answer["load"]["bytes_read"], 0);
    EXPECT_THAT(specimen({"check"}).out, HasSubstr("verdict  FAILED at tok_embeddings.weight, rank 0: axis"));
}

TEST(Specimen, FailsLoadByEveryReasonAndWritesNothing) {
    const TemporaryFolder folder;
    const Printed printed = specimen({"load", "--out", folder / "out"});
    EXPECT_EQ(printed.code, 1) << printed.err;
    EXPECT_THAT(printed.out, HasSubstr("load: FAILED: rules pr-3143 contradict what their code declares"));
    for (const char* line : {"tok_embeddings.weight: axis dp_replicate is the second of the mesh (fsdp, dp_replicate)",
                             "moe.experts.w1: axis efsdp is of a mesh", "moe.experts.w1: axis ep has no placement",
                             "attention.wq.weight: axis fsdp is SS(0,2) in storage"}) {
        EXPECT_THAT(printed.out, HasSubstr(line));
    }
    EXPECT_FALSE(std::filesystem::exists(folder / "out/manifest.json"));
    EXPECT_EQ(specimen({"load", "--dry-run"}).code, 1);
}

TEST(Specimen, DoesNotRun) {
    const TemporaryFolder folder;
    const Printed printed = specimen({"run", "--backend", "sim", "--input-ids", kDemo + "/golden.safetensors", "--out",
                                      folder / "logits.safetensors"});
    EXPECT_EQ(printed.code, 2) << printed.err;
    EXPECT_THAT(printed.err, HasSubstr("--rules=pr-3143"));
}

struct Layouts {
    std::vector<std::string> args;
};
class RuleSetsHold : public testing::TestWithParam<Layouts> {};
TEST_P(RuleSetsHold, OnTheDemo) {
    std::vector<std::string> args{"check", "--tokens", "13", "--json", "-"};
    args.insert(args.end(), GetParam().args.begin(), GetParam().args.end());
    const Printed printed = on_demo(args);
    EXPECT_EQ(printed.code, 0) << printed.err << printed.out;
    EXPECT_TRUE(json::parse(printed.out)["ok"]);
}
INSTANTIATE_TEST_SUITE_P(
    All, RuleSetsHold,
    testing::Values(
        Layouts{{"--rules", "titan-infer-fsdp", "--dp-replicate", "2", "--dp-shard", "2", "--tp", "2", "--ep", "2"}},
        Layouts{{"--rules", "vllm", "--dp-shard", "4", "--tp", "2"}},
        Layouts{{"--rules", "vllm", "--dp-shard", "3", "--tp", "2", "--ep", "6"}},
        Layouts{{"--rules", "vllm", "--dp-shard", "3", "--tp", "2", "--ep", "6", "--vllm-expert-placement-strategy",
                 "round_robin"}},
        Layouts{{"--rules", "megatron", "--dp-shard", "2", "--tp", "2"}},
        Layouts{{"--rules", "megatron", "--dp-shard", "4", "--tp", "2", "--ep", "2", "--etp", "4"}},
        Layouts{{"--rules", "megatron", "--dp-shard", "4", "--tp", "2", "--ep", "8", "--etp", "1", "--sp"}}));

TEST(RuleSets, MegatronsEtpIsTpUnlessGivenAndIsWrittenDown) {
    const Printed printed = on_demo({"plan", "--rules", "megatron", "--dp-shard", "2", "--tp", "2", "--json", "-"});
    ASSERT_EQ(printed.code, 0) << printed.err;
    const json plan = json::parse(printed.out);
    EXPECT_EQ(plan["dims"]["etp"], 2);
    EXPECT_EQ(plan["meshes"]["sparse"]["axes"], json({"pp", "dp_replicate", "efsdp", "ep", "etp"}));
    EXPECT_EQ(plan["groups"]["etp"], json::parse("[[0,1],[2,3]]"));
    const TemporaryFolder folder;
    const std::vector<std::string> layout{"--rules", "megatron", "--dp-shard", "2", "--tp", "2", "--etp", "1"};
    std::vector<std::string> load{"load", "--dry-run", "--out", folder / "out"};
    load.insert(load.end(), layout.begin(), layout.end());
    ASSERT_EQ(on_demo(load).code, 0);
    EXPECT_EQ(json::parse(text_of(folder / "out/manifest.json"))["dims"]["etp"], 1);
    std::vector<std::string> compare{"load", "--dry-run", "--against", folder / "out/manifest.json"};
    compare.insert(compare.end(), layout.begin(), layout.end());
    EXPECT_EQ(on_demo(compare).code, 0);
    compare.back() = "2";
    EXPECT_EQ(on_demo(compare).code, 1);
    EXPECT_THAT(on_demo(compare).out, HasSubstr("dims.etp"));
}

class ExpertMapFile : public testing::Test {
protected:
    Printed plan_with(const std::string& text) {
        std::ofstream(folder_ / "map.json") << text;
        return on_demo({"check", "--tokens", "9", "--rules", "vllm", "--dp-shard", "2", "--tp", "2", "--ep", "4",
                        "--expert-map", folder_ / "map.json"});
    }
    const TemporaryFolder folder_;
};

TEST_F(ExpertMapFile, PlacesRedundantExpertsAndTheModelIsTheSame) {
    const Printed printed =
        plan_with(R"({"physical_to_logical_map": [15,1,2,3,0, 4,5,6,7,0, 8,9,10,11,1, 12,13,14,0,15]})");
    EXPECT_EQ(printed.code, 0) << printed.err << printed.out;
    EXPECT_THAT(printed.out, HasSubstr("--expert-map"));  // in the replay line
}

TEST_F(ExpertMapFile, IsRefusedByThePathOfTheField) {
    const auto expect = [&](const std::string& text, const std::string& what) {
        const Printed printed = plan_with(text);
        EXPECT_EQ(printed.code, 2) << text;
        EXPECT_THAT(printed.err, HasSubstr(what)) << text;
    };
    expect("{", "must be JSON");
    expect("[]", "physical_to_logical_map");
    expect(R"({"physical_to_logical_map": 4})", "must be a list");
    expect(R"({"physical_to_logical_map": [0, 1.5]})", "physical_to_logical_map[1]");
    expect(R"({"physical_to_logical_map": [[0, 1], 7]})", "physical_to_logical_map[1]");
    expect(R"({"physical_to_logical_map": [0, -1]})", "physical_to_logical_map[1]");
    expect(R"({"physical_to_logical_map": [0,1,2,3]})", "is an expert without a slot");
    const Printed absent = on_demo({"plan", "--rules", "vllm", "--expert-map", folder_ / "absent.json"});
    EXPECT_EQ(absent.code, 2);
    EXPECT_THAT(absent.err, HasSubstr("absent.json: file missing"));
}

TEST_F(ExpertMapFile, ThatIsAFifoIsRefusedAtOnce) {
    const std::string fifo = folder_ / "fifo";
    ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
    const Printed printed = on_demo({"plan", "--rules", "vllm", "--dp-shard", "2", "--ep", "2", "--expert-map", fifo});
    EXPECT_EQ(printed.code, 2);
    EXPECT_THAT(printed.err, HasSubstr("it is a FIFO"));
}

// One slot a rank, and more ranks than experts: what redundancy is for.
TEST_F(ExpertMapFile, MayHaveMoreRanksThanThereAreExperts) {
    std::string slots = "0";
    for (int slot = 1; slot < 20; ++slot) slots += "," + std::to_string(slot % 16);
    write_text(folder_ / "map.json", R"({"physical_to_logical_map": [)" + slots + "]}");
    const Printed printed = on_demo({"check", "--tokens", "16", "--rules", "vllm", "--dp-shard", "10", "--tp", "2",
                                     "--ep", "20", "--expert-map", folder_ / "map.json"});
    EXPECT_EQ(printed.code, 0) << printed.err << printed.out;
}

TEST(RuleSets, SayThatVllmDealsRoundRobinOnlyWithExpertGroups) {
    const Printed printed = on_demo({"plan", "--summary", "--rules", "vllm", "--dp-shard", "2", "--ep", "2",
                                     "--vllm-expert-placement-strategy", "round_robin"});
    EXPECT_EQ(printed.code, 0);
    EXPECT_THAT(printed.err, HasSubstr("note: vLLM places experts round-robin only in models with expert groups"));
}

TEST(RuleSets, OptionsOfOneAreRefusedForOthers) {
    const auto refused = [](std::vector<std::string> args, const std::string& option) {
        args.insert(args.begin(), "plan");
        const Printed printed = on_demo(args);
        EXPECT_EQ(printed.code, 2);
        EXPECT_THAT(printed.err, HasSubstr(option));
    };
    refused({"--etp", "1"}, "--etp=1");
    refused({"--vllm-expert-placement-strategy", "round_robin"}, "--vllm-expert-placement-strategy=round_robin");
    refused({"--rules", "vllm", "--vllm-expert-placement-strategy", "random"}, "must be linear or round_robin");
    refused({"--rules", "megatron", "--etp", "0"}, "--etp=0");
}

}  // namespace
}  // namespace shardproof::reports
