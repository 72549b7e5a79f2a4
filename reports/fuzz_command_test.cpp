#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "props/corpus.hpp"
#include "reports/command_runner.hpp"

namespace shardproof::reports {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json fuzzed(std::vector<std::string> args, int code) {
    args.insert(args.begin(), "fuzz");
    args.insert(args.end(), {"--json", "-"});
    const Printed printed = run_command_line(args);
    EXPECT_EQ(printed.code, code) << printed.err;
    EXPECT_EQ(printed.err, "");
    return json::parse(printed.out);
}

void expect_refused(std::vector<std::string> args, int code, const std::vector<std::string>& texts) {
    args.insert(args.begin(), "fuzz");
    const Printed printed = run_command_line(args);
    EXPECT_EQ(printed.code, code) << printed.err;
    EXPECT_EQ(printed.out, "");
    EXPECT_EQ(std::ranges::count(printed.err, '\n'), 1) << printed.err;
    for (const std::string& text : texts) EXPECT_THAT(printed.err, HasSubstr(text));
}

TEST(FuzzCommand, AnswersWithTheKeysOfTheContract) {
    const json answer = fuzzed({"--cases", "50", "--seed", "4"}, 0);
    EXPECT_TRUE(answer["ok"].get<bool>());
    EXPECT_EQ(answer["seed"], 4);
    EXPECT_EQ(answer["cases"], 50);
    EXPECT_TRUE(answer["seconds"].is_number());
    EXPECT_GT(answer["cases_per_second"].get<double>(), 0);
    ASSERT_TRUE(answer["laws"].is_object());
    EXPECT_GT(answer["laws"].size(), 5U);
    for (const json& cases : answer["laws"]) EXPECT_TRUE(cases.is_number_integer());
    ASSERT_TRUE(answer["traits"].is_object());
    EXPECT_TRUE(answer["traits"].contains("zero_token_rank"));
    for (const json& cases : answer["traits"]) EXPECT_TRUE(cases.is_number_integer());
    EXPECT_EQ(answer["failures"], json::array());
    EXPECT_EQ(answer["mutants"], json::array());
}

TEST(FuzzCommand, ReplaysTheCorpusFirstUnlessAskedForOtherThings) {
    const auto all = static_cast<std::int64_t>(props::corpus_lines().size());
    EXPECT_EQ(fuzzed({"--cases", "3"}, 0)["corpus"], all);
    EXPECT_EQ(fuzzed({"--cases", "3", "--law", "mesh"}, 0)["corpus"], all);
    EXPECT_EQ(fuzzed({"--replay", "rules=titan-train"}, 0)["corpus"], 0);
    EXPECT_EQ(fuzzed({"--mutants", "m13"}, 0)["corpus"], 0);
}

TEST(FuzzCommand, SaysSoInWords) {
    const Printed printed = run_command_line({"fuzz", "--cases", "20"});
    EXPECT_EQ(printed.code, 0) << printed.err;
    for (const char* text :
         {"seed     0", "corpus   ", " cases replayed", "zero_token_rank", "a second", "verdict  no law broken"}) {
        EXPECT_THAT(printed.out, HasSubstr(text));
    }
}

TEST(FuzzCommand, TriesOneLawOnly) {
    const json all = fuzzed({"--cases", "2"}, 0)["laws"];
    const std::string law = all.begin().key();
    const json one = fuzzed({"--cases", "2", "--law", law}, 0)["laws"];
    EXPECT_LT(one.size(), all.size());
    EXPECT_EQ(one[law], 2);
}

TEST(FuzzCommand, KillsAPlantedFaultAndNamesTheLaw) {
    const json answer = fuzzed({"--mutants", "m13"}, 0);
    EXPECT_TRUE(answer["ok"].get<bool>());
    ASSERT_EQ(answer["mutants"].size(), 1U);
    const json& mutant = answer["mutants"][0];
    EXPECT_EQ(mutant["id"], "m13");
    EXPECT_EQ(mutant["killed"], true);
    EXPECT_FALSE(mutant["law"].get<std::string>().empty());
    EXPECT_GT(mutant["cases"].get<int>(), 0);
    EXPECT_TRUE(mutant["seconds"].is_number());
    // The healthy program holds on the case that killed the fault.
    EXPECT_TRUE(fuzzed({"--replay", mutant["shrunk"].get<std::string>()}, 0)["ok"].get<bool>());
}

TEST(FuzzCommand, TakesSeveralFaultsAndOptionsAfterThem) {
    const json answer = fuzzed({"--mutants", "m24,m13", "--seed", "1"}, 0);
    ASSERT_EQ(answer["mutants"].size(), 2U);
    EXPECT_EQ(answer["seed"], 1);
}

TEST(FuzzCommand, RefusesWhatItDoesNotKnow) {
    expect_refused({"--replay", "no-such=case"}, 2, {"case: no-such", "must be one of rules"});
    expect_refused({"--replay", ""}, 2, {"--replay"});
    expect_refused({"--replay", "tp=3,heads=4"}, 2, {"case: tp=3: must divide num_attention_heads (4)"});
    expect_refused({"--law", "no-such-law"}, 2, {"--law=no-such-law", "must be"});
    expect_refused({"--mutants", "m13,,m25"}, 2, {"--mutants=m13,,m25", "commas"});
    expect_refused({"--mutants="}, 2, {"--mutants: must not be empty"});
    expect_refused({"--mutants", "", "--seed", "1"}, 2, {"--mutants: must not be empty"});
    expect_refused({"--mutants", "m99"}, 2, {"--mutants=m99", "must be one of m01"});
    expect_refused({"--mutants", "m31", "--backend", "gpu"}, 2, {"--mutants=m31", "that devices take"});
    if (!has_gpu()) expect_refused({"--backend", "gpu"}, 3, {"no GPU"});
    expect_refused({"--backend", "oracle"}, 2, {"--backend=oracle"});
    expect_refused({"--mutants", "m13", "--replay", "rules=titan-infer"}, 2, {"--replay", "--mutants"});
}

TEST(FuzzCommand, RefusesWhatNoDevicesWouldTakeBeforeItLooksForAny) {
    const auto refused = [](std::vector<std::string> args, const std::vector<std::string>& texts) {
        args.insert(args.end(), {"--backend", "gpu"});
        expect_refused(args, 2, texts);
    };
    refused({"--law", "gpu.windows", "--dispatcher", "send-receive"}, {"--law=gpu.windows", "gpu.send-receive.layer"});
    refused({"--law", "gpu.windows", "--transport", "loopback"}, {"--law=gpu.windows", "--transport loopback"});
    refused({"--law", "no-such-law"}, {"--law=no-such-law", "must be one of gpu.send-receive.layer"});
    refused({"--replay", "rules=titan-train,experts=32,dp_shard=32"}, {"case: world=32", "must be at most 16"});
    refused({"--replay", "dense_layers=0"}, {"--replay=", "nothing was judged"});
    refused({"--replay", "rules=titan-infer", "--dispatcher", "windows"}, {"nothing was judged"});
    refused({"--deadline", "0"}, {"--deadline=0"});
}

#ifdef SHARDPROOF_HAS_GPU
TEST(FuzzCommand, IsNotOneOfSeveralProcesses) {
    const std::vector<std::pair<std::string, std::string>> variables{{"OMPI_COMM_WORLD_RANK", "0"},
                                                                     {"OMPI_COMM_WORLD_SIZE", "2"},
                                                                     {"OMPI_COMM_WORLD_LOCAL_RANK", "0"},
                                                                     {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}};
    for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
    expect_refused({"--backend", "gpu"}, 2, {"--backend=gpu", "fuzz runs all ranks in one process", "2 that mpirun"});
    for (const auto& [name, value] : variables) unsetenv(name.c_str());
}
#endif

TEST(FuzzCommand, RefusesBoundsThatAreNone) {
    for (const char* seconds : {"0", "-1", "nan", "inf", "1s", "", "1e9"}) {
        expect_refused({"--seconds", seconds}, 2, {"--seconds", "number of seconds"});
    }
    expect_refused({"--cases", "0"}, 2, {"--cases=0", ">= 1"});
    expect_refused({"--seed", "-1"}, 2, {"command line: --seed=-1: must be >= 0"});
}

}  // namespace
}  // namespace shardproof::reports
