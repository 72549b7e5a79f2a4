#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "oracle/model/safetensors.hpp"
#include "reports/command_runner.hpp"
#include "reports/manifest.hpp"

namespace shardproof::reports {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

const std::string kDemo = SHARDPROOF_SOURCE_DIR "/oracle/golden/demo";

Printed load(std::vector<std::string> args) {
    args.insert(args.begin(), {"load", kDemo, "--dp-shard", "2", "--tp", "2", "--ep", "4"});
    return run_command_line(args);
}

SafetensorsFile open_file(const std::string& file) { return SafetensorsFile(map_file(file, file)); }

TEST(LoadCommand, WritesEveryRanksShardsAndTheirManifest) {
    const TemporaryFolder folder;
    const Printed printed = load({"--out", folder / "out"});
    ASSERT_EQ(printed.code, 0) << printed.err;
    const json manifest = json::parse(text_of(folder / "out/manifest.json"));
    EXPECT_EQ(manifest["format"], 1);
    EXPECT_EQ(manifest["world"], 4);
    EXPECT_EQ(manifest["family"], "qwen3_moe");
    ASSERT_EQ(manifest["ranks"].size(), 4U);
    for (const json& rank : manifest["ranks"]) {
        const SafetensorsFile file = open_file(folder / ("out/" + rank["file"].get<std::string>()));
        ASSERT_EQ(file.header().entries.size(), rank["params"].size());
        for (const json& param : rank["params"]) {
            const SafetensorsEntry* const entry = file.find(param["name"].get<std::string>());
            ASSERT_NE(entry, nullptr) << param["name"];
            EXPECT_EQ(json(entry->shape), param["shape"]);
            EXPECT_EQ(name_of(entry->dtype), param["dtype"].get<std::string>());
            EXPECT_EQ(xxh64_text(xxh64(file.view(*entry).bytes)), param["xxh64"].get<std::string>());
        }
    }
}

TEST(LoadCommand, PutsTheRightExpertsOnARank) {
    const TemporaryFolder folder;
    ASSERT_EQ(load({"--out", folder / "out"}).code, 0);
    const SafetensorsFile shards = open_file(folder / "out/rank_00002.safetensors");
    const SafetensorsEntry* const entry = shards.find("layers.1.moe.experts.w1");
    ASSERT_NE(entry, nullptr);
    const auto stacked = shards.view(*entry).bytes;
    const std::size_t expert_bytes = std::size_t{40} * 64 * 2;
    ASSERT_EQ(stacked.size(), 4 * expert_bytes);
    for (const char* file : {"/model-00001-of-00002.safetensors", "/model-00002-of-00002.safetensors"}) {
        const SafetensorsFile source = open_file(kDemo + file);
        for (std::size_t local = 0; local < 4; ++local) {  // rank 2 of 4: experts 8 .. 11
            const auto* expert =
                source.find("model.layers.1.mlp.experts." + std::to_string(8 + local) + ".gate_proj.weight");
            if (expert == nullptr) continue;
            const auto want = source.view(*expert).bytes;
            const auto got = stacked.subspan(local * expert_bytes, expert_bytes);
            EXPECT_TRUE(std::ranges::equal(got, want)) << "expert " << 8 + local;
        }
    }
}

TEST(LoadCommand, HashesAsXxh64DoesWithSeedZero) {
    EXPECT_EQ(xxh64_text(xxh64({})), "ef46db3751d8e999");  // the algorithm's published value for no input
}

TEST(LoadCommand, DryRunWritesTheManifestOnlyAndReadsNoTensor) {
    const TemporaryFolder folder;
    fs::copy_file(kDemo + "/config.json", folder / "config.json");
    const Printed printed = run_command_line({"load", folder / ".", "--tp", "2", "--dry-run", "--out", folder / "out"});
    ASSERT_EQ(printed.code, 0) << printed.err;
    const json manifest = json::parse(text_of(folder / "out/manifest.json"));
    for (const json& param : manifest["ranks"][1]["params"]) EXPECT_TRUE(param["xxh64"].is_null());
    EXPECT_EQ(std::distance(fs::directory_iterator(folder / "out"), fs::directory_iterator{}), 1);
}

TEST(LoadCommand, AgainstItsOwnManifestHolds) {
    const TemporaryFolder folder;
    ASSERT_EQ(load({"--out", folder / "out"}).code, 0);
    const Printed same = load({"--against", folder / "out/manifest.json", "--json", "-"});
    EXPECT_EQ(same.code, 0);
    const json answer = json::parse(same.out);
    EXPECT_TRUE(answer["ok"].get<bool>());
    EXPECT_EQ(answer["hashes_compared"], 4 * 38);
    const Printed dry = load({"--against", folder / "out/manifest.json", "--dry-run"});
    EXPECT_EQ(dry.code, 0);
    EXPECT_THAT(dry.out, HasSubstr("152 hashes are null on one side and were left out"));
}

TEST(LoadCommand, NamesRankAndParameterOfEveryDifference) {
    const TemporaryFolder folder;
    ASSERT_EQ(load({"--out", folder / "out"}).code, 0);
    json manifest = json::parse(text_of(folder / "out/manifest.json"));
    json& params = manifest["ranks"][3]["params"];
    params[5]["xxh64"] = "0123456789abcdef";
    const std::string hashed = params[5]["name"];
    const std::string dropped = params[7]["name"];
    params.erase(7);
    manifest["ranks"][0]["params"][0]["index"][0][0][0] = 1;
    write_text(folder / "other.json", manifest.dump());
    const Printed printed = load({"--against", folder / "other.json"});
    EXPECT_EQ(printed.code, 1);
    EXPECT_THAT(printed.out, HasSubstr("rank 3: " + hashed + ": xxh64: "));
    EXPECT_THAT(printed.out, HasSubstr("rank 3: " + dropped + ": not in the manifest"));
    EXPECT_THAT(printed.out, HasSubstr("rank 0: tok_embeddings.weight: index: [0:130][0:64], not [1:130][0:64]"));
    EXPECT_THAT(printed.out, HasSubstr("FAILED: 3 differences"));
}

TEST(LoadCommand, NamesARankThatOneManifestLacks) {
    TemporaryFolder folder;
    ASSERT_EQ(load({"--dry-run", "--out", folder / "out"}).code, 0);
    const json good = json::parse(text_of(folder / "out/manifest.json"));
    const auto difference = [&](const json& manifest) {
        write_text(folder / "other.json", manifest.dump());
        const Printed printed = load({"--against", folder / "other.json"});
        EXPECT_EQ(printed.code, 1);
        return printed.out;
    };
    json other = good;
    other["ranks"].erase(1);
    EXPECT_THAT(difference(other), HasSubstr("rank 1: not in the manifest"));
    other = good;
    other["ranks"].push_back(other["ranks"].back());
    other["ranks"].back()["rank"] = other["ranks"].size() - 1;
    EXPECT_THAT(difference(other), HasSubstr("rank 4: only in the manifest"));
}

TEST(LoadCommand, ReplacesNothingButFiles) {
    const TemporaryFolder folder;
    std::filesystem::create_directories(std::filesystem::path{folder / "out"} / "rank_00002.safetensors");
    const Printed refused = load({"--out", folder / "out"});
    EXPECT_EQ(refused.code, 2);
    EXPECT_THAT(refused.err, HasSubstr("rank_00002.safetensors: must be a regular file"));
    EXPECT_FALSE(std::filesystem::exists(std::filesystem::path{folder / "out"} / "rank_00000.safetensors"));
}

// The target of a link is a file of someone else.
TEST(LoadCommand, FollowsNoLinkInPlaceOfARanksFile) {
    for (const char* name : {"rank_00001.safetensors", "manifest.json"}) {
        const TemporaryFolder folder;
        fs::create_directories(folder / "out");
        write_text(folder / "target", "mine");
        fs::create_symlink(folder / "target", folder / (std::string{"out/"} + name));
        const Printed refused = load({"--out", folder / "out"});
        EXPECT_EQ(refused.code, 2);
        EXPECT_THAT(refused.err, HasSubstr(std::string{name} + ": must be a file of this folder, not a link"));
        fs::remove(folder / "target");  // nor one that leads nowhere
        EXPECT_EQ(load({"--out", folder / "out"}).code, 2);
        EXPECT_FALSE(fs::exists(folder / "target"));
        EXPECT_FALSE(fs::exists(folder / "out/rank_00000.safetensors"));
    }
}

TEST(LoadCommand, RefusesAFolderThatTakesNoFilesAsBadInput) {
    if (!fs::exists("/proc/self")) GTEST_SKIP() << "no /proc";
    for (const char* out : {"/proc/shardproof", "/proc/self"}) {
        const Printed refused = load({"--out", out});
        EXPECT_EQ(refused.code, 2);
        EXPECT_THAT(refused.err, HasSubstr("--out: must be writable"));
        EXPECT_EQ(std::ranges::count(refused.err, '\n'), 1) << refused.err;
    }
}

TEST(LoadCommand, RefusesAMalformedManifestByField) {
    TemporaryFolder folder;
    ASSERT_EQ(load({"--dry-run", "--out", folder / "out"}).code, 0);
    const json good = json::parse(text_of(folder / "out/manifest.json"));
    const auto refusal = [&](const json& manifest) {
        write_text(folder / "bad.json", manifest.dump());
        const Printed printed = load({"--against", folder / "bad.json"});
        EXPECT_EQ(printed.code, 2);
        return printed.err;
    };
    json bad = good;
    bad["ranks"][1]["params"][0]["xxh64"] = "short";
    EXPECT_THAT(refusal(bad), HasSubstr("ranks[1].params[0].xxh64=\"short\": must be 16 hex digits or null"));
    bad = good;
    bad["ranks"][1]["rank"] = 0;
    EXPECT_THAT(refusal(bad), HasSubstr("ranks[1].rank=0: ranks must be in order"));
    bad = good;
    bad.erase("dims");
    EXPECT_THAT(refusal(bad), HasSubstr("dims: must be there"));
    write_text(folder / "bad.json", "{");
    EXPECT_THAT(load({"--against", folder / "bad.json"}).err, HasSubstr("must be JSON"));
}

TEST(LoadCommand, WritesNothingWhenInputIsBad) {
    const TemporaryFolder folder;
    EXPECT_EQ(run_command_line({"load", kDemo, "--tp", "3", "--out", folder / "out"}).code, 2);
    EXPECT_EQ(load({"--layers", "4", "--out", folder / "out"}).code, 2);
    EXPECT_EQ(load({"--against", folder / "absent.json", "--out", folder / "out"}).code, 2);
    EXPECT_TRUE(folder.is_empty());
    write_text(folder / "file", "");
    EXPECT_THAT(load({"--out", folder / "file"}).err, HasSubstr("must be a folder"));
    EXPECT_THAT(load({}).err, HasSubstr("--out: must be given"));
}

TEST(LoadCommand, RefusesAFolderWithRanksOfALargerWorld) {
    const TemporaryFolder folder;
    ASSERT_EQ(load({"--out", folder / "out"}).code, 0);
    const Printed printed = run_command_line({"load", kDemo, "--tp", "2", "--out", folder / "out"});
    EXPECT_EQ(printed.code, 2);
    EXPECT_THAT(printed.err, HasSubstr("must hold no rank files beyond this world of 2"));
    EXPECT_EQ(load({"--out", folder / "out"}).code, 0);  // the same world again is fine
}

TEST(LoadCommand, CutsToTheFirstLayers) {
    const TemporaryFolder folder;
    ASSERT_EQ(load({"--layers", "1", "--dry-run", "--out", folder / "out"}).code, 0);
    std::vector<std::string> names;
    const json manifest = json::parse(text_of(folder / "out/manifest.json"));
    for (const json& param : manifest["ranks"][0]["params"]) names.push_back(param["name"]);
    EXPECT_THAT(names, testing::Contains("layers.0.attention.wq.weight"));
    EXPECT_THAT(names, testing::Contains("lm_head.weight"));
    EXPECT_THAT(names, testing::Each(testing::Not(HasSubstr("layers.1."))));
}

}  // namespace
}  // namespace shardproof::reports
