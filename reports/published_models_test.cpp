// Published models at their true size, as sparse checkpoints: inspected, planned and loaded without reading a tensor.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "reports/command_runner.hpp"

namespace shardproof::reports {
namespace {

using nlohmann::json;

struct PublishedModel {
    const char* name;
    const char* family;
    const char* file_bytes;  // of the published files
    std::size_t num_files;   // as published
    std::uint64_t parameters;
    std::uint64_t active_parameters;
    std::vector<std::string> layout;
    std::int64_t world;
};

class PublishedModels : public testing::TestWithParam<PublishedModel> {};

TEST_P(PublishedModels, AreInspectedPlannedAndDryRunLoadedAtTrueSize) {
    const PublishedModel& model = GetParam();
    const TemporaryFolder folder;
    const auto answer = [&](std::vector<std::string> args, const std::vector<std::string>& more) {
        args.insert(args.end(), more.begin(), more.end());
        args.insert(args.end(), {"--json", folder / "answer.json"});
        const Printed printed = run_command_line(args);
        EXPECT_EQ(printed.code, 0) << printed.err;
        return printed.code == 0 ? json::parse(text_of(folder / "answer.json")) : json{};
    };
    const std::string config =
        std::string{SHARDPROOF_SOURCE_DIR "/oracle/golden/configs/"} + model.name + "/config.json";
    const std::string checkpoint = folder / "checkpoint";
    const json written =
        answer({"synth", config, "--sparse", "--max-shard-size", model.file_bytes, "--out", checkpoint}, {});
    EXPECT_EQ(written["files"].size(), model.num_files);

    const json inspected = answer({"inspect", checkpoint}, {});
    EXPECT_EQ(inspected["family"], model.family);
    EXPECT_EQ(inspected["parameters"], model.parameters);
    EXPECT_EQ(inspected["active_parameters"], model.active_parameters);

    const json plan = answer({"plan", checkpoint, "--summary"}, model.layout);
    ASSERT_EQ(plan["bytes_per_rank"].size(), static_cast<std::size_t>(model.world));
    const auto held =
        std::accumulate(plan["bytes_per_rank"].begin(), plan["bytes_per_rank"].end(), std::uint64_t{0},
                        [](std::uint64_t sum, const json& bytes) { return sum + bytes.get<std::uint64_t>(); });
    EXPECT_GE(held, 2 * model.parameters);

    const std::filesystem::path manifest = folder / "manifest.json";
    const Printed loaded = run_command_line([&] {
        std::vector<std::string> args{"load", checkpoint, "--dry-run", "--json", manifest.string()};
        args.insert(args.end(), model.layout.begin(), model.layout.end());
        return args;
    }());
    EXPECT_EQ(loaded.code, 0) << loaded.err;
    EXPECT_GT(std::filesystem::file_size(manifest), static_cast<std::uintmax_t>(model.world) * 1000);
}

const std::vector<std::string> k512{"--rules", "titan-train", "--dp-shard", "128", "--tp", "4", "--ep", "128"};

INSTANTIATE_TEST_SUITE_P(All, PublishedModels,
                         testing::Values(PublishedModel{"Qwen3-30B-A3B",
                                                        "qwen3_moe",
                                                        "4000000000",
                                                        16,
                                                        30'532'122'624,
                                                        3'353'032'704,
                                                        {"--dp-shard", "16", "--tp", "4", "--ep", "64"},
                                                        64},
                                         PublishedModel{"Qwen3-235B-A22B", "qwen3_moe", "4000000000", 118,
                                                        235'093'634'560, 22'190'763'520, k512, 512}),
                         [](const auto& test) {
                             std::string name = test.param.name;
                             std::ranges::replace(name, '-', '_');
                             return name;
                         });

}  // namespace
}  // namespace shardproof::reports
