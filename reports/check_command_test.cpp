#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "reports/command_runner.hpp"
#include "reports/token_files.hpp"

namespace shardproof::reports {
namespace {

using nlohmann::json;
using namespace std::string_literals;
using testing::HasSubstr;

const std::string kDemo = SHARDPROOF_SOURCE_DIR "/oracle/golden/demo";
const std::string kGolden = kDemo + "/golden.safetensors";
const std::vector<std::string> kEightRanks{"--dp-shard", "4", "--tp", "2", "--ep", "8"};

std::vector<std::string> check_args(const std::vector<std::string>& more, const std::vector<std::string>& layout = {}) {
    std::vector<std::string> args{"check", kDemo};
    args.insert(args.end(), layout.begin(), layout.end());
    args.insert(args.end(), more.begin(), more.end());
    return args;
}

// Keys of an object, sorted by name: the contract's, plus those of ours.
std::vector<std::string> keys_of(const json& object) {
    std::vector<std::string> keys;
    for (const auto& [key, value] : object.items()) keys.push_back(key);
    return keys;
}

void expect_contract(const json& answer) {
    EXPECT_EQ(keys_of(answer), (std::vector<std::string>{"backend", "dims", "exactness", "failure", "layers", "load",
                                                         "ok", "replay", "rules", "world"}));
    EXPECT_TRUE(answer["ok"].is_boolean());
    EXPECT_EQ(answer["backend"], "sim");
    EXPECT_TRUE(answer["rules"].is_string());
    EXPECT_TRUE(answer["world"].is_number_integer());
    EXPECT_EQ(keys_of(answer["dims"]), (std::vector<std::string>{"cp", "dp_replicate", "dp_shard", "ep", "pp", "tp"}));
    for (const json& degree : answer["dims"]) EXPECT_TRUE(degree.is_number_integer());
    EXPECT_EQ(answer["exactness"], "bounded");
    const json& load = answer["load"];
    EXPECT_EQ(keys_of(load), (std::vector<std::string>{"bytes_planned", "bytes_read", "ok", "poison_left"}));
    EXPECT_TRUE(load["ok"].is_boolean());
    for (const char* count : {"bytes_planned", "bytes_read", "poison_left"}) {
        EXPECT_TRUE(load[count].is_number_integer()) << count;
    }
    ASSERT_TRUE(answer["layers"].is_array());
    for (const json& layer : answer["layers"]) {
        EXPECT_TRUE(layer["name"].is_string());
        EXPECT_TRUE(layer["ok"].is_boolean());
        EXPECT_TRUE(layer["max_error"].is_number());
        EXPECT_TRUE(layer["bound"].is_number());
    }
    EXPECT_THAT(answer["replay"].get<std::string>(), testing::StartsWith("shardproof check "));
    EXPECT_EQ(answer["failure"].is_null(), answer["ok"].get<bool>());
    if (answer["failure"].is_null()) return;
    const json& failure = answer["failure"];
    EXPECT_EQ(keys_of(failure),
              (std::vector<std::string>{"bound", "coordinate", "got", "layer", "rank", "want", "why"}));
    EXPECT_TRUE(failure["layer"].is_string());
    EXPECT_TRUE(failure["rank"].is_number_integer());
    EXPECT_TRUE(failure["coordinate"].is_array());
    for (const char* number : {"got", "want", "bound"}) EXPECT_TRUE(failure[number].is_number()) << number;
    EXPECT_TRUE(failure["why"].is_string());
}

// The answer of `check DEMO ... --json -`, to the letter of the contract.
json checked(std::vector<std::string> args, int code) {
    args.insert(args.end(), {"--json", "-"});
    const Printed printed = run_command_line(args);
    EXPECT_EQ(printed.code, code) << printed.err;
    json answer = json::parse(printed.out, nullptr, false);
    EXPECT_FALSE(answer.is_discarded()) << printed.out;
    if (!answer.is_discarded()) expect_contract(answer);
    return answer;
}

void expect_refused(const std::vector<std::string>& args, int code, const std::vector<std::string>& texts) {
    const Printed printed = run_command_line(args);
    EXPECT_EQ(printed.code, code) << printed.err;
    EXPECT_EQ(printed.out, "");
    EXPECT_EQ(std::ranges::count(printed.err, '\n'), 1) << printed.err;
    for (const std::string& text : texts) EXPECT_THAT(printed.err, HasSubstr(text));
}

struct Healthy {
    const char* name;
    std::vector<std::string> options;
    std::int64_t world;
};

class HealthyModel : public testing::TestWithParam<Healthy> {};

TEST_P(HealthyModel, Holds) {
    const json answer = checked(check_args(GetParam().options), 0);
    EXPECT_EQ(answer["world"], GetParam().world);
    EXPECT_EQ(answer["load"]["bytes_planned"], answer["load"]["bytes_read"]);
    EXPECT_GT(answer["load"]["bytes_read"].get<std::int64_t>(), 0);
    EXPECT_EQ(answer["load"]["poison_left"], 0);
    const bool cut = std::ranges::find(GetParam().options, "--layers") != GetParam().options.end();
    std::vector<std::string> names;
    for (const json& layer : answer["layers"]) names.push_back(layer["name"]);
    EXPECT_EQ(names, cut ? (std::vector<std::string>{"tok_embeddings", "layers.0", "lm_head"})
                         : (std::vector<std::string>{"tok_embeddings", "layers.0", "layers.1", "layers.2", "lm_head"}));
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, HealthyModel,
    testing::Values(
        Healthy{"infer", {"--dp-shard", "4", "--tp", "2", "--ep", "8"}, 8},
        Healthy{"train", {"--rules", "titan-train", "--dp-shard", "4", "--tp", "2", "--ep", "4", "--sp"}, 8},
        Healthy{"replicas", {"--rules", "titan-train", "--dp-replicate", "2", "--dp-shard", "2", "--ep", "2"}, 4},
        Healthy{"no_ep", {"--dp-shard", "2", "--tp", "2"}, 4}, Healthy{"one_rank", {}, 1},
        Healthy{"one_layer", {"--layers", "1", "--dp-shard", "4", "--tp", "2", "--ep", "8"}, 8},
        Healthy{"bf16", {"--dtype", "bf16", "--dp-shard", "4", "--tp", "2", "--ep", "8"}, 8},
        Healthy{"no_tokens", {"--tokens", "0", "--dp-shard", "4", "--tp", "2", "--ep", "8"}, 8},
        Healthy{"one_token", {"--tokens", "1", "--dp-shard", "4", "--tp", "2", "--ep", "8"}, 8},
        Healthy{"ragged", {"--tokens", "37", "--seed", "5", "--dp-shard", "3", "--ep", "3"}, 3},
        Healthy{"golden_ids", {"--input-ids", kGolden, "--dp-shard", "4", "--tp", "2", "--ep", "8"}, 8}),
    [](const testing::TestParamInfo<Healthy>& row) { return std::string{row.param.name}; });

TEST(CheckCommand, JudgesEverySequenceOfABatchThatDividesNothing) {
    const TemporaryFolder folder;
    for (const Shape& shape : {Shape{5, 3}, Shape{1, 7}, Shape{0, 4}, Shape{3, 0}}) {
        write_some_ids(folder / "ids", shape[0], shape[1]);
        const json answer = checked(check_args({"--input-ids", folder / "ids"}, kEightRanks), 0);
        EXPECT_EQ(answer["layers"].back()["tokens"], shape[0] * shape[1]) << to_string(shape);
    }
}

TEST(CheckCommand, SaysSoInWords) {
    const Printed printed = run_command_line(check_args({}, kEightRanks));
    EXPECT_EQ(printed.code, 0);
    EXPECT_EQ(printed.err, "");
    for (const char* text :
         {"every byte where the plan says", "layers.2", "verdict  holds", "replay   shardproof check"}) {
        EXPECT_THAT(printed.out, HasSubstr(text));
    }
}

TEST(CheckCommand, SaysThatWithoutTokensNothingWasJudged) {
    const Printed printed = run_command_line(check_args({"--tokens", "0"}, kEightRanks));
    EXPECT_EQ(printed.code, 0);
    EXPECT_THAT(printed.out, HasSubstr("verdict  the loading holds; there are no tokens, so that no layer was judged"));
    EXPECT_THAT(printed.out, testing::Not(HasSubstr("every rank's every layer")));
}

TEST(CheckCommand, NamesATensorsFileWithItsFolder) {
    const TemporaryFolder folder;
    const std::string model = folder / "model";
    std::filesystem::copy(kDemo, model);
    json config = json::parse(text_of(model + "/config.json"));
    config["vocab_size"] = 260;
    write_text(model + "/config.json", config.dump());
    EXPECT_THAT(run_command_line({"check", model}).err,
                HasSubstr(model + "/model-00001-of-00002.safetensors: model.embed_tokens.weight=[259,64]: shape"));
}

TEST(CheckCommand, ComesToTheSameAnswerTwice) {
    EXPECT_EQ(checked(check_args({}, kEightRanks), 0), checked(check_args({}, kEightRanks), 0));
}

// The words of a replay line, as a shell cuts them; nothing in it needs quotes here.
std::vector<std::string> words_of(const std::string& replay) {
    std::istringstream in(replay);
    std::vector<std::string> words;
    for (std::string word; in >> word;) words.push_back(word);
    words.erase(words.begin());
    return words;
}

TEST(CheckCommand, PlacesAPlantedFaultAndReplaysIt) {
    const json answer = checked(check_args({"--plant", "m13", "--seed", "3"}, kEightRanks), 1);
    const json& failure = answer["failure"];
    EXPECT_EQ(failure["layer"], "layers.1.moe");
    EXPECT_GE(failure["rank"].get<int>(), 0);
    EXPECT_LT(failure["rank"].get<int>(), 8);
    EXPECT_EQ(failure["coordinate"].size(), 3U);
    const double got = failure["got"];
    const double want = failure["want"];
    EXPECT_GT(std::abs(got - want), failure["bound"].get<double>());
    EXPECT_GT(failure["bound"].get<double>(), 0);
    EXPECT_TRUE(answer["layers"][1]["ok"].get<bool>());
    EXPECT_FALSE(answer["layers"][2]["ok"].get<bool>());
    EXPECT_EQ(checked(words_of(answer["replay"]), 1), answer);

    const Printed printed = run_command_line(words_of(answer["replay"]));
    EXPECT_EQ(printed.code, 1);
    EXPECT_THAT(printed.out, HasSubstr("verdict  FAILED at layers.1.moe, rank "));
    EXPECT_THAT(printed.out, HasSubstr("got "));
    EXPECT_THAT(printed.out, HasSubstr(answer["replay"].get<std::string>()));
}

TEST(CheckCommand, PlacesAFaultOfLoadingInTheParameter) {
    const json answer = checked(check_args({"--plant", "m25"}, kEightRanks), 1);
    EXPECT_FALSE(answer["load"]["ok"].get<bool>());
    EXPECT_THAT(answer["failure"]["layer"].get<std::string>(), HasSubstr("moe.experts.w"));
}

TEST(CheckCommand, LoadsFromTheFilesOfAPlantedFault) {
    const json answer = checked(check_args({"--plant", "m30-stale"}, kEightRanks), 1);
    EXPECT_FALSE(answer["load"]["ok"].get<bool>());
    EXPECT_EQ(answer["failure"]["layer"], "norm.weight");
}

TEST(CheckCommand, RefusesASeedThatNobodyCouldTypeAgain) {
    expect_refused(check_args({"--seed", "-1"}), 2, {"command line: --seed=-1: must be >= 0"});
}

TEST(CheckCommand, RefusesFaultsThatItCannotPlant) {
    expect_refused(check_args({"--plant", ""}, kEightRanks), 2, {"--plant: must not be empty"});
    expect_refused(check_args({"--plant", "m99"}, kEightRanks), 2, {"m99", "must be one of m01"});
    expect_refused(check_args({"--plant", "m25"}), 2, {"--plant=m25", "changes nothing"});
    // Only other runs, a second load, a plan's laws or what is saved show these, not a variant of theirs that one run
    // does.
    for (const char* id : {"m31", "m05-everywhere", "m25-saved", "m17", "m17-nan", "m29"})
        expect_refused(check_args({"--plant", id}, kEightRanks), 2, {id, "changes nothing"});
}

TEST(CheckCommand, ReplayLineKeepsWhatWasAsked) {
    const TemporaryFolder folder;
    write_some_ids(folder / "some ids", 2, 3);
    const std::string replay = checked(check_args({"--input-ids", folder / "some ids", "--layers", "2", "--dtype",
                                                   "bf16", "--rules", "titan-train", "--tp", "2", "--sp"}),
                                       0)["replay"];
    for (const std::string& text : {"--tp 2"s, "--sp"s, "--rules titan-train"s, "--layers 2"s, "--dtype bf16"s,
                                    "--input-ids '" + (folder / "some ids") + "'"}) {
        EXPECT_THAT(replay, HasSubstr(text));
    }
}

TEST(CheckCommand, JudgesTheOracleByAReference) {
    EXPECT_TRUE(checked(check_args({"--input-ids", kGolden, "--reference", kGolden}, kEightRanks), 0)["ok"]);
}

class AlteredReference : public testing::TestWithParam<double> {};

TEST_P(AlteredReference, FailsAtItsCoordinate) {
    const TemporaryFolder folder;
    Tensor logits = tensor_of(kGolden, "logits");
    const std::size_t flat = (std::size_t{1} * 16 + 5) * 259 + 77;
    std::memcpy(logits.bytes.data() + flat * sizeof(double), &GetParam(), sizeof(double));
    write_safetensors(folder / "reference", {{"logits", logits.view()}});
    const std::vector<std::string> args =
        check_args({"--input-ids", kGolden, "--reference", folder / "reference"}, kEightRanks);
    const Printed printed = run_command_line(args);
    EXPECT_EQ(printed.code, 1);
    EXPECT_THAT(printed.out, HasSubstr("sequence 1 position 5 column 77"));
    EXPECT_THAT(printed.out, HasSubstr("the oracle differs from the reference"));
    EXPECT_THAT(printed.out, HasSubstr("--reference " + (folder / "reference")));
}

INSTANTIATE_TEST_SUITE_P(Values, AlteredReference,
                         testing::Values(0.25, std::numeric_limits<double>::quiet_NaN(),
                                         std::numeric_limits<double>::infinity()),
                         [](const testing::TestParamInfo<double>& row) {
                             return std::string{row.index == 0 ? "number" : row.index == 1 ? "nan" : "infinity"};
                         });

TEST(CheckCommand, RefusesAReferenceThatIsNone) {
    const TemporaryFolder folder;
    write_ids(folder / "reference", {1, 2}, {1, 2}, "logits");
    expect_refused(check_args({"--input-ids", kGolden, "--reference", folder / "reference"}), 2,
                   {"reference: logits=I64", "F64"});
    Tensor logits = tensor_of(kGolden, "logits");
    logits.shape = {16, 2, 259};
    write_safetensors(folder / "reference", {{"logits", logits.view()}});
    expect_refused(check_args({"--input-ids", kGolden, "--reference", folder / "reference"}), 2,
                   {"logits=[16,2,259]", "must have shape [2,16,259]"});
    write_ids(folder / "reference", {1, 2}, {1, 2}, "other");
    expect_refused(check_args({"--input-ids", kGolden, "--reference", folder / "reference"}), 2, {"logits", "missing"});
    expect_refused(check_args({"--input-ids", kGolden, "--reference", folder / "absent"}), 2, {"absent"});
}

TEST(CheckCommand, SaysThatThereIsNoGpu) {
    if (has_gpu()) GTEST_SKIP() << "there is a GPU";
    expect_refused(check_args({"--backend", "gpu"}), 3, {"no GPU"});
}

TEST(CheckCommand, RefusesWhatNoDevicesWouldTakeBeforeItLooksForAny) {
    const auto refused = [](std::vector<std::string> more, const std::vector<std::string>& texts) {
        more.insert(more.end(), {"--backend", "gpu"});
        expect_refused(check_args(more), 2, texts);
    };
    refused({"--tokens", "1073741824"}, {"--tokens=1073741824", "must be 0 .. 1073741823"});
    refused({"--tokens", "9223372036854775807"}, {"--tokens=9223372036854775807", "must be 0 .. 1073741823"});
    refused({"--tokens", "-1"}, {"--tokens=-1"});
    refused({"--layers", "1"}, {"layers=1", "must have an MoE layer among them"});
#ifdef SHARDPROOF_HAS_GPU
    refused({"--grouped-gemm", "cutlass", "--dtype", "f32"}, {"--grouped-gemm=cutlass", "cannot multiply"});
#endif
}

TEST(CheckCommand, RefusesWhatItDoesNotRun) {
    expect_refused(check_args({"--dispatcher", "windows"}), 2, {"--dispatcher=windows", "--backend gpu only"});
    expect_refused(check_args({"--backend", "gpu", "--deadline", "0"}), 2, {"--deadline=0", "from 0.1"});
    expect_refused(check_args({"--backend", "gpu", "--transport", "foo"}), 2, {"--transport=foo", "nccl or loopback"});
    expect_refused(check_args({"--backend", "gpu", "--dispatcher", "foo"}), 2, {"--dispatcher=foo", "windows"});
    expect_refused(check_args({"--backend", "gpu", "--grouped-gemm", "foo"}), 2, {"--grouped-gemm=foo", "portable"});
    expect_refused(check_args({"--backend", "gpu", "--transport", "loopback", "--dispatcher", "windows"}), 2,
                   {"--dispatcher=windows", "--transport loopback"});
    expect_refused(check_args({"--backend", "oracle"}), 2, {"--backend=oracle", "sim or gpu"});
    expect_refused(check_args({"--cp", "2"}), 2, {"--cp=2", "must be 1"});
    expect_refused(check_args({"--pp", "2"}), 2, {"--pp=2", "must be 1"});
    expect_refused(check_args({"--tokens", "-1"}), 2, {"--tokens=-1"});
    expect_refused(check_args({"--tokens", "8", "--input-ids", kGolden}), 2, {"--tokens=8", "--input-ids"});
    expect_refused(check_args({"--tokens", "4294967296"}), 3, {"memory", "4294967296"});
}

}  // namespace
}  // namespace shardproof::reports
