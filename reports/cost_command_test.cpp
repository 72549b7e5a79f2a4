#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "oracle/model/safetensors.hpp"
#include "reports/command_runner.hpp"
#include "reports/token_files.hpp"

namespace shardproof::reports {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

const std::string kDemo = SHARDPROOF_SOURCE_DIR "/oracle/golden/demo";
const std::vector<std::string> kLayout{"plan", kDemo, "--dp-shard", "4", "--tp", "2", "--ep", "8"};

Printed run_plan(const std::vector<std::string>& more) {
    std::vector<std::string> words = kLayout;
    words.insert(words.end(), more.begin(), more.end());
    return run_command_line(words);
}

json cost_with(std::vector<std::string> more) {
    more.insert(more.end(), {"--json", "-"});
    const Printed printed = run_plan(more);
    EXPECT_EQ(printed.code, 0) << printed.err;
    return json::parse(printed.out)["cost"];
}

json collective(const json& cost, const std::string& what) {
    for (const json& call : cost["collectives"]) {
        if (call["what"] == what) return call;
    }
    return nullptr;
}

std::int64_t sum_of(const json& list) {
    const auto values = list.get<std::vector<std::int64_t>>();
    return std::accumulate(values.begin(), values.end(), std::int64_t{0});
}

// 64 tokens, K 2, hidden 64: every choice is a row of 128 bytes.
TEST(CostCommand, DispatchSendsARowForEveryChoice) {
    const json cost = cost_with({"--tokens", "64"});
    const json dispatch = collective(cost, "dispatch");
    EXPECT_EQ(dispatch["stages"], json::parse(R"(["layers.1", "layers.2"])"));
    EXPECT_EQ(dispatch["sent"].size(), 8U);
    EXPECT_EQ(sum_of(dispatch["sent"]), 64 * 2 * 64 * 2);
    EXPECT_EQ(sum_of(dispatch["received"]), 64 * 2 * 64 * 2);
    EXPECT_EQ(cost["network"]["ranks_per_node"], 8);
    const json f32 = cost_with({"--tokens", "64", "--dtype", "f32", "--rank", "3"});
    EXPECT_EQ(collective(f32, "dispatch")["sent"], 8 * 2 * 64 * 4);
    EXPECT_EQ(collective(cost_with({"--tokens", "64", "--summary"}), "dispatch")["sent"]["sum"], 64 * 2 * 64 * 2);
}

TEST(CostCommand, RoutingFromAFileGoesWhereTheFileSays) {
    const TemporaryFolder folder;
    write_ids(folder / "ids.safetensors", std::vector<std::int64_t>{15, 14, 15, 14, 15, 14}, {3, 2}, "expert_ids");
    const json dispatch = collective(cost_with({"--tokens", "3", "--routing", folder / "ids.safetensors"}), "dispatch");
    EXPECT_EQ(dispatch["received"], json::parse("[0, 0, 0, 0, 0, 0, 0, 768]"));
    const Printed other = run_plan({"--tokens", "4", "--routing", folder / "ids.safetensors"});
    EXPECT_EQ(other.code, 2);
    EXPECT_THAT(other.err, HasSubstr("expert_ids.shape=[3,2]: must be [4,2]"));
    write_ids(folder / "ids.safetensors", std::vector<std::int64_t>{15, 16}, {1, 2}, "expert_ids");
    EXPECT_THAT(run_plan({"--tokens", "1", "--routing", folder / "ids.safetensors"}).err,
                HasSubstr("expert_ids[1]=16: must be an expert, 0 .. 15"));
}

TEST(CostCommand, RefusesItsOptionsByName) {
    EXPECT_THAT(run_plan({"--routing", "uniform"}).err, HasSubstr("--routing: must not be given without --tokens"));
    EXPECT_THAT(run_plan({"--tokens", "-1"}).err, HasSubstr("--tokens=-1: must be 0 .. 2^32"));
    EXPECT_THAT(run_plan({"--tokens", "1", "--intra-node", "3"}).err, HasSubstr("--intra-node=3: must be LATENCY_US"));
    EXPECT_THAT(run_plan({"--tokens", "1", "--inter-node", "3,0"}).err, HasSubstr("--inter-node=3,0: must be"));
    EXPECT_THAT(run_plan({"--tokens", "1", "--ranks-per-node", "0"}).err,
                HasSubstr("--ranks-per-node=0: must be >= 1"));
    const TemporaryFolder folder;
    write_text(folder / "net.json", R"({"intra_node": {"latency_us": -1, "gb_per_s": 3}})");
    const Printed printed = run_plan({"--tokens", "1", "--network", folder / "net.json"});
    EXPECT_EQ(printed.code, 2);
    EXPECT_THAT(printed.err,
                AllOf(HasSubstr("net.json: intra_node.latency_us=-1"), HasSubstr("must be a number >= 0")));
}

// The layers' calls carry the same bytes on every rank, one inside its node and one beyond: each has its own time.
TEST(CostCommand, ATimeIsThatOfItsOwnLayer) {
    const TemporaryFolder folder;
    const std::int64_t tokens = 256;
    const auto time_with = [&](bool first_near, bool second_near) {
        std::vector<std::int64_t> ids;
        for (const bool near : {first_near, second_near}) {
            for (std::int64_t token = 0; token < tokens; ++token) {
                // 16 tokens and 1 expert a rank; ranks 0-7 are one node.
                const std::int64_t base = (token < tokens / 2) == near ? 0 : 8;
                ids.push_back(base + (token + 1) % 8);
                ids.push_back(base + (token + 2) % 8);
            }
        }
        const TensorView view{DType::I64, {2, tokens, 2}, std::as_bytes(std::span{ids})};
        write_safetensors(folder / "routing.safetensors", {{"expert_ids", view}});
        const Printed printed =
            run_command_line({"plan", kDemo, "--dp-shard", "16", "--ep", "16", "--tokens", std::to_string(tokens),
                              "--inter-node", "10,0.05", "--routing", folder / "routing.safetensors", "--json", "-"});
        EXPECT_EQ(printed.code, 0) << printed.err;
        return json::parse(printed.out)["cost"]["time_us"].get<double>();
    };
    const double near = time_with(true, true);
    const double far = time_with(false, false);
    EXPECT_GT(far, 2 * near);
    EXPECT_NEAR(time_with(true, false), (near + far) / 2, 1e-6);
    EXPECT_NEAR(time_with(false, true), (near + far) / 2, 1e-6);
}

TEST(CostCommand, RefusesARoutingThatNoRouterMakes) {
    const TemporaryFolder folder;
    const std::vector<std::int64_t> ids{0, 1, 2, 2};
    write_safetensors(folder / "twice.safetensors",
                      {{"expert_ids", {DType::I64, {2, 2}, std::as_bytes(std::span{ids})}}});
    const Printed printed = run_plan({"--tokens", "2", "--routing", folder / "twice.safetensors"});
    EXPECT_EQ(printed.code, 2);
    EXPECT_THAT(printed.err, HasSubstr("expert_ids[3]=2: must not be chosen twice by one token"));
}

// A file that calls itself by the name of a rule set is still another program's.
TEST(CostCommand, RefusesALayoutThatNoRankRuns) {
    const TemporaryFolder folder;
    json plan = json::parse(run_command_line({"plan", kDemo, "--dp-shard", "4", "--tp", "2", "--ep", "4", "--rules",
                                              "titan-train", "--json", "-"})
                                .out);
    for (json& param : plan["params"]) {
        param.erase("shards");
        if (!param["name"].get<std::string>().starts_with("layers.1.moe.experts")) continue;
        param["mesh"] = "dense";
        param["placements"] = json{{"fsdp", "S(0)"}, {"tp", "R"}};
    }
    write_text(folder / "plan.json", plan.dump());
    const Printed given = run_command_line({"plan", kDemo, "--placements", folder / "plan.json", "--tokens", "64"});
    EXPECT_EQ(given.code, 2);
    EXPECT_THAT(given.err, HasSubstr("where no rank can run"));
    const Printed specimen = run_command_line(
        {"plan", kDemo, "--rules", "pr-3143", "--dp-shard", "4", "--tp", "2", "--ep", "8", "--tokens", "64"});
    EXPECT_EQ(specimen.code, 2);
    EXPECT_THAT(specimen.err, HasSubstr("where no rank can load or run"));
}

}  // namespace
}  // namespace shardproof::reports
