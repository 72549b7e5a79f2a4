#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "oracle/model/safetensors.hpp"
#include "reports/command_runner.hpp"

namespace shardproof::reports {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

const std::string kDemo = SHARDPROOF_SOURCE_DIR "/oracle/golden/demo";

// Two tensors, one named with a control character, one empty; and metadata.
void write_small_file(const std::string& file) {
    const std::vector<std::byte> bytes(12, std::byte{1});
    write_safetensors(file, {{"b", {DType::BF16, {2, 3}, bytes}}, {"a\nb\x1b[2J", {DType::U8, {0, 5}, {}}}},
                      {{"format", "pt"}});
}

TEST(Inspect, SaysOfAFileWhatTheContractLists) {
    const TemporaryFolder folder;
    const std::string file = folder / "small.safetensors";
    write_small_file(file);
    const Printed printed = run_command_line({"inspect", file, "--json", "-"});
    ASSERT_EQ(printed.code, 0) << printed.err;
    const std::size_t size = std::filesystem::file_size(file);
    const json want = {
        {"files", {{{"path", file}, {"bytes", size}}}},
        {"metadata", {{"format", "pt"}}},
        {"tensors",
         {{{"name", "a\nb\x1b[2J"}, {"dtype", "U8"}, {"shape", {0, 5}}, {"file", file}, {"begin", size}, {"end", size}},
          {{"name", "b"}, {"dtype", "BF16"}, {"shape", {2, 3}}, {"file", file}, {"begin", size - 12}, {"end", size}}}},
        {"family", nullptr},
        {"parameters", 6},
        {"active_parameters", nullptr}};
    EXPECT_EQ(json::parse(printed.out), want);
}

TEST(Inspect, PrintsNoRawControlCharacters) {
    const TemporaryFolder folder;
    const std::string file = folder / "small.safetensors";
    write_small_file(file);
    const Printed printed = run_command_line({"inspect", file});
    EXPECT_THAT(printed.out, HasSubstr("a\\nb\\x1b[2J"));
    EXPECT_THAT(printed.out, Not(HasSubstr("\x1b")));
    EXPECT_THAT(run_command_line({"inspect", file, "--json", "-"}).out, Not(HasSubstr("\x1b")));
}

TEST(Inspect, NamesAModelsFilesAsItsIndexDoes) {
    const json answer = json::parse(run_command_line({"inspect", kDemo, "--json", "-"}).out);
    EXPECT_EQ(answer["family"], "qwen3_moe");
    ASSERT_EQ(answer["files"].size(), 2U);
    EXPECT_EQ(answer["files"][0]["path"], "model-00001-of-00002.safetensors");
    std::int64_t parameters = 0;
    std::string before;
    for (const json& tensor : answer["tensors"]) {
        EXPECT_LT(before, tensor["name"].get<std::string>());
        before = tensor["name"].get<std::string>();
        std::int64_t elements = 1;
        for (const json& extent : tensor["shape"]) elements *= extent.get<std::int64_t>();
        EXPECT_EQ(tensor["end"].get<std::int64_t>() - tensor["begin"].get<std::int64_t>(), 2 * elements);
        parameters += elements;
    }
    EXPECT_EQ(answer["parameters"], parameters);
    // Per MoE layer 14 of 16 experts are idle: 3 * 64 * 40 elements each, in two layers.
    EXPECT_EQ(answer["active_parameters"], parameters - 2 * 14 * 3 * 64 * 40);
}

TEST(Inspect, OfAFileOfAModelSaysToGiveTheFolder) {
    for (const char* file : {"/config.json", "/model.safetensors.index.json"}) {
        const Printed printed = run_command_line({"inspect", kDemo + file});
        EXPECT_EQ(printed.code, 2);
        EXPECT_THAT(printed.err,
                    HasSubstr(std::string{file} + ": PATH: must be a safetensors file, or the folder of a"));
    }
    EXPECT_THAT(run_command_line({"inspect", kDemo + "/absent.json"}).err, HasSubstr("file missing"));
}

TEST(Inspect, RefusesATruncatedFile) {
    const TemporaryFolder folder;
    const std::string file = folder / "small.safetensors";
    write_small_file(file);
    std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);
    const Printed printed = run_command_line({"inspect", file, "--json", folder / "answer.json"});
    EXPECT_EQ(printed.code, 2);
    EXPECT_THAT(printed.err, HasSubstr(file));
    EXPECT_FALSE(std::filesystem::exists(folder / "answer.json"));
}

}  // namespace
}  // namespace shardproof::reports
