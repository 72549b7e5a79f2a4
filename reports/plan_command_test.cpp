#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "reports/command_runner.hpp"

namespace shardproof::reports {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

const std::string kDemo = SHARDPROOF_SOURCE_DIR "/oracle/golden/demo";

json plan(std::vector<std::string> args) {
    args.insert(args.begin(), {"plan", kDemo, "--dp-shard", "4", "--tp", "2", "--ep", "8", "--json", "-"});
    const Printed printed = run_command_line(args);
    EXPECT_EQ(printed.code, 0) << printed.err;
    return json::parse(printed.out);
}

TEST(PlanCommand, HasTheContractsFieldsAndNoOthers) {
    const json answer = plan({});
    std::vector<std::string> keys;
    for (const auto& [key, value] : answer.items()) keys.push_back(key);
    EXPECT_THAT(
        keys, testing::UnorderedElementsAre("world", "dims", "rules", "meshes", "groups", "bytes_per_rank", "params"));
    EXPECT_EQ(answer["world"], 8);
    EXPECT_EQ(answer["dims"], json::parse(R"({"pp":1,"dp_replicate":1,"dp_shard":4,"cp":1,"tp":2,"ep":8})"));
    EXPECT_EQ(answer["rules"], "titan-infer");
    EXPECT_EQ(answer["meshes"]["dense"],
              json::parse(R"({"axes":["pp","dp_replicate","fsdp","tp"],"sizes":[1,1,4,2]})"));
    EXPECT_EQ(answer["meshes"]["sparse"],
              json::parse(R"({"axes":["pp","dp_replicate","efsdp","ep"],"sizes":[1,1,1,8]})"));
    EXPECT_EQ(answer["meshes"].size(), 2U);
    EXPECT_EQ(answer["groups"]["tp"], json::parse("[[0,1],[2,3],[4,5],[6,7]]"));
    EXPECT_EQ(answer["groups"]["ep"], json::parse("[[0,1,2,3,4,5,6,7]]"));
    EXPECT_EQ(answer["groups"].size(), 9U);
}

TEST(PlanCommand, SaysOfAnExpertParameterWhoHoldsWhat) {
    const json params = plan({"--params", "layers.1.moe.experts.w1"})["params"];
    ASSERT_EQ(params.size(), 1U);
    json param = params[0];
    EXPECT_EQ(param["checkpoint"][15], "model.layers.1.mlp.experts.15.gate_proj.weight");
    param.erase("checkpoint");
    ASSERT_EQ(param["shards"].size(), 8U);
    EXPECT_EQ(param["shards"][7], json::parse(R"({"rank": 7, "index": [[[14,16]], [[0,40]], [[0,64]]]})"));
    param.erase("shards");
    const json placements{{"pp", "R"}, {"dp_replicate", "R"}, {"efsdp", "R"}, {"ep", "S(0)"}};
    const json want{{"name", "layers.1.moe.experts.w1"},
                    {"shape", {16, 40, 64}},
                    {"dtype", "BF16"},
                    {"mesh", "sparse"},
                    {"placements", placements}};
    EXPECT_EQ(param, want);
}

TEST(PlanCommand, BytesPerRankAreThoseOfTheShards) {
    const json answer = plan({});
    std::vector<std::int64_t> bytes(8, 0);
    for (const json& param : answer["params"]) {
        for (const json& shard : param["shards"]) {
            std::int64_t elements = 1;
            for (const json& runs : shard["index"]) {
                std::int64_t extent = 0;
                for (const json& run : runs) extent += run[1].get<std::int64_t>() - run[0].get<std::int64_t>();
                elements *= extent;
            }
            bytes[shard["rank"].get<std::size_t>()] += 2 * elements;
        }
    }
    EXPECT_EQ(answer["bytes_per_rank"], json(bytes));
}

TEST(PlanCommand, RestrictsToARankAndLeavesOutShards) {
    const json of_rank = plan({"--rank", "3"});
    for (const json& param : of_rank["params"]) {
        ASSERT_EQ(param["shards"].size(), 1U);
        EXPECT_EQ(param["shards"][0]["rank"], 3);
    }
    const json summary = plan({"--summary"});
    for (const json& param : summary["params"]) EXPECT_FALSE(param.contains("shards"));
    EXPECT_THAT(run_command_line({"plan", kDemo, "--rank", "1"}).err,
                HasSubstr("--rank=1: must be a rank of the world"));
    EXPECT_THAT(run_command_line({"plan", kDemo, "--params", "x*"}).err,
                HasSubstr("--params=x*: matches no parameter"));
}

TEST(PlanCommand, NeedsNoMoreThanTheConfig) {
    const TemporaryFolder folder;
    std::filesystem::copy_file(kDemo + "/config.json", folder / "config.json");
    const std::vector<std::string> layout{"--dp-shard", "2", "--tp", "2", "--ep", "4", "--json", "-"};
    std::vector<std::string> args{"plan", folder / "."};
    args.insert(args.end(), layout.begin(), layout.end());
    const Printed bare = run_command_line(args);
    args[1] = kDemo;
    EXPECT_EQ(bare.code, 0) << bare.err;
    EXPECT_EQ(bare.out, run_command_line(args).out);
}

TEST(PlanCommand, WithPipelineStagesGivesMeshesAndRefusesParameters) {
    const std::vector<std::string> staged{"plan", kDemo, "--rules", "titan-train", "--pp", "2", "--json", "-"};
    const Printed printed = run_command_line(staged);
    ASSERT_EQ(printed.code, 0) << printed.err;
    EXPECT_THAT(printed.err, HasSubstr("--pp=2"));
    const json answer = json::parse(printed.out);
    EXPECT_EQ(answer["groups"]["pp"], json::parse("[[0,1]]"));
    EXPECT_EQ(answer["params"], json::array());
    std::vector<std::string> asked = staged;
    asked.insert(asked.end(), {"--params", "*"});
    const Printed refused = run_command_line(asked);
    EXPECT_EQ(refused.code, 2);
    EXPECT_THAT(refused.err, HasSubstr("--pp=2: must be 1"));
}

// What this process may map beyond what it has mapped already.
class AddressSpaceLimit {
public:
    explicit AddressSpaceLimit(std::uint64_t bytes_more) {
        std::uint64_t pages = 0;
        std::ifstream("/proc/self/statm") >> pages;
        getrlimit(RLIMIT_AS, &before_);
        rlimit limit = before_;
        limit.rlim_cur = pages * static_cast<std::uint64_t>(getpagesize()) + bytes_more;
        setrlimit(RLIMIT_AS, &limit);
    }
    ~AddressSpaceLimit() { setrlimit(RLIMIT_AS, &before_); }
    AddressSpaceLimit(const AddressSpaceLimit&) = delete;
    AddressSpaceLimit& operator=(const AddressSpaceLimit&) = delete;

private:
    rlimit before_{};
};

TEST(PlanCommand, RefusesMoreRanksThanMemoryHoldsBeforeItPrints) {
    const AddressSpaceLimit limit(std::uint64_t{1} << 30);
    const Printed printed = run_command_line({"plan", kDemo, "--dp-replicate", "16777216", "--rules", "titan-train"});
    EXPECT_EQ(printed.code, 3);
    EXPECT_EQ(printed.out, "");
    EXPECT_THAT(printed.err,
                testing::ContainsRegex("a plan of 16777216 ranks needs [0-9]+ bytes .* leaves [0-9]+ bytes"));
    EXPECT_THAT(printed.err, Not(HasSubstr("--layers")));
}

TEST(PlanCommand, NotesADtypeOfTheConfigThatTheTensorsDoNotHave) {
    const TemporaryFolder folder;
    const std::string model = folder / "model";
    std::filesystem::copy(kDemo, model);
    json config = json::parse(text_of(model + "/config.json"));
    for (const char* key : {"dtype", "torch_dtype"}) {
        if (config.contains(key)) config[key] = "float32";
    }
    write_text(model + "/config.json", config.dump());
    for (const std::vector<std::string>& args :
         {std::vector<std::string>{"plan", model}, {"inspect", model}, {"check", model, "--tokens", "1"}}) {
        const Printed printed = run_command_line(args);
        EXPECT_EQ(printed.code, 0);
        EXPECT_EQ(printed.err, "note: config.json says F32, the tensors are BF16: the tensors decide\n");
    }
}

TEST(PlanCommand, FoldsLayersThatAreAlike) {
    const Printed printed = run_command_line({"plan", kDemo, "--dp-shard", "4", "--tp", "2", "--ep", "8"});
    EXPECT_THAT(printed.out, HasSubstr("layers.{0-2}.attention.wq.weight"));
    EXPECT_THAT(printed.out, HasSubstr("layers.0.feed_forward.w1.weight"));
    EXPECT_THAT(printed.out, HasSubstr("ep S(0)"));
    EXPECT_THAT(printed.out, Not(HasSubstr("layers.1.")));
}

}  // namespace
}  // namespace shardproof::reports
