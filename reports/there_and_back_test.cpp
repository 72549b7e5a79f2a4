// load --out, load --from-shards and merge through the command line: every file as it was, byte for byte.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "oracle/model/safetensors.hpp"
#include "reports/command_runner.hpp"

namespace shardproof::reports {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

using Words = std::vector<std::string>;

const std::string kGoldens = SHARDPROOF_SOURCE_DIR "/oracle/golden/";
const std::string kDemo = kGoldens + "demo";

// One a rule set, all different: uneven experts, replicated kv heads, strided cuts, experts out of order.
const std::vector<Words> kLayouts{
    {"--dp-shard", "4", "--tp", "2", "--ep", "8"},
    {"--rules", "titan-train", "--dp-shard", "2", "--cp", "2", "--tp", "2", "--ep", "4"},
    {"--rules", "titan-infer-fsdp", "--dp-replicate", "2", "--dp-shard", "2", "--tp", "2", "--ep", "2"},
    {"--rules", "vllm", "--dp-shard", "3", "--tp", "2", "--ep", "6"},
    {"--rules", "vllm", "--dp-shard", "3", "--tp", "2", "--ep", "6", "--vllm-expert-placement-strategy", "round_robin"},
    {"--rules", "vllm", "--tp", "4"},
    {"--rules", "megatron", "--dp-shard", "4", "--tp", "2", "--ep", "2", "--etp", "4"},
};

Printed run_words(std::initializer_list<Words> parts) {
    Words all;
    for (const Words& part : parts) all.insert(all.end(), part.begin(), part.end());
    return run_command_line(all);
}

// Name and bytes of every file.
std::map<std::string, std::string> files_of(const std::string& folder) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
        if (entry.is_regular_file())
            files.emplace(entry.path().lexically_relative(folder).string(), text_of(entry.path().string()));
    }
    return files;
}

// Not EXPECT_EQ on the map: nobody wants to read the bytes.
void expect_same_files(const std::string& got, const std::string& want) {
    const auto ours = files_of(got);
    const auto theirs = files_of(want);
    for (const auto& [name, bytes] : theirs) {
        ASSERT_TRUE(ours.contains(name)) << name << " is lacking";
        EXPECT_TRUE(ours.at(name) == bytes) << name << " has other bytes";
    }
    EXPECT_EQ(ours.size(), theirs.size());
}

void copy_model(const std::string& from, const std::string& to) {
    fs::copy(from, to, fs::copy_options::recursive);
    fs::remove(to + "/golden.safetensors");
}

TEST(ThereAndBack, AnyLayoutReLaidIsWhatTheModelGivesAndMergesBack) {
    const TemporaryFolder folder;
    copy_model(kDemo, folder / "model");
    for (std::size_t i = 0; i < kLayouts.size(); ++i) {
        const Printed direct =
            run_words({{"load", kDemo, "--out", folder / ("direct" + std::to_string(i))}, kLayouts[i]});
        ASSERT_EQ(direct.code, 0) << direct.err;
    }
    std::string from = folder / "direct0";
    for (std::size_t i = 1; i <= kLayouts.size(); ++i) {  // one after the other, and back to the first
        const std::size_t to = i % kLayouts.size();
        const std::string out = folder / ("re-laid" + std::to_string(i));
        const Printed again = run_words({{"load", "--from-shards", from, "--out", out}, kLayouts[to]});
        ASSERT_EQ(again.code, 0) << again.err;
        expect_same_files(out, folder / ("direct" + std::to_string(to)));
        const std::string merged = folder / ("merged" + std::to_string(i));
        const Printed back = run_command_line({"merge", out, "--out", merged});
        ASSERT_EQ(back.code, 0) << back.err;
        expect_same_files(merged, folder / "model");
        from = out;
    }
}

TEST(ThereAndBack, EveryGoldenComesBack) {
    for (const char* name : {"dynamic", "llama3-tied", "plain", "sparse-step", "tied-dense", "yarn-full"}) {
        const TemporaryFolder folder;
        copy_model(kGoldens + name, folder / "model");
        ASSERT_EQ(run_command_line({"load", folder / "model", "--dp-shard", "2", "--rules", "titan-train", "--out",
                                    folder / "shards"})
                      .code,
                  0);
        const Printed merged = run_command_line({"merge", folder / "shards", "--out", folder / "back", "--json", "-"});
        ASSERT_EQ(merged.code, 0) << merged.err;
        expect_same_files(folder / "back", folder / "model");
        const json answer = json::parse(merged.out);
        std::uint64_t bytes = 0;
        for (const json& file : answer["files"]) {
            EXPECT_EQ(file["bytes"], fs::file_size(folder / ("back/" + file["path"].get<std::string>())));
            bytes += file["bytes"].get<std::uint64_t>();
        }
        EXPECT_EQ(answer["bytes"], bytes);
    }
}

// Headers, file names and indexes that no writer of ours makes, a tied head that is there anyway, links into a cache.
TEST(ThereAndBack, FilesAsOthersWriteThemComeBack) {
    const TemporaryFolder folder;
    copy_model(kGoldens + "tied-dense", folder / "model");
    const std::string index_file = folder / "model/model.safetensors.index.json";
    const json index = json::parse(text_of(index_file));
    const auto embeddings = index["weight_map"]["model.embed_tokens.weight"].get<std::string>();
    std::string head = text_of(folder / ("model/" + embeddings));
    const SafetensorsFile file(map_file(folder / ("model/" + embeddings), "embeddings"));
    const SafetensorsEntry& entry = *file.find("model.embed_tokens.weight");
    const std::string bytes = head.substr(entry.begin, entry.end - entry.begin);
    std::string header =
        R"({ "__metadata__": {"é": "\n\u0001", "DCP": "{}"},  "lm_head.weight" : {"data_offsets":[0,)" +
        std::to_string(bytes.size()) + R"(],"dtype":")" + std::string{name_of(entry.dtype)} + R"(","shape":)" +
        json(entry.shape).dump() + "} }\n\t   ";
    const std::uint64_t length = header.size();
    fs::create_directories(folder / "model/extra");
    write_text(folder / "cached", std::string(reinterpret_cast<const char*>(&length), 8) + header + bytes);
    fs::create_symlink(folder / "cached", folder / "model/extra/the head.safetensors");
    json with_head = index;
    with_head["weight_map"]["lm_head.weight"] = "extra/the head.safetensors";
    write_text(index_file, "\n " + with_head.dump(3) + "\n\n");

    const Printed loaded = run_command_line({"load", folder / "model", "--tp", "2", "--out", folder / "shards"});
    ASSERT_EQ(loaded.code, 0) << loaded.err;
    const Printed merged = run_command_line({"merge", folder / "shards", "--out", folder / "back"});
    ASSERT_EQ(merged.code, 0) << merged.err;
    expect_same_files(folder / "back", folder / "model");
}

TEST(ThereAndBack, AgainstTakesShardsToo) {
    const TemporaryFolder folder;
    ASSERT_EQ(run_words({{"load", kDemo, "--out", folder / "shards"}, kLayouts[0]}).code, 0);
    ASSERT_EQ(run_words({{"load", kDemo, "--dry-run", "--out", folder / "dry"}, kLayouts[1]}).code, 0);
    ASSERT_EQ(run_words({{"load", kDemo, "--out", folder / "other"}, kLayouts[1]}).code, 0);
    const auto against = [&](const std::string& manifest, const Words& more) {
        return run_words(
            {{"load", "--from-shards", folder / "shards", "--against", folder / manifest}, kLayouts[1], more});
    };
    EXPECT_THAT(against("other/manifest.json", {}).out, HasSubstr("ok: 0 differences"));
    EXPECT_THAT(against("dry/manifest.json", {"--dry-run"}).out, HasSubstr("hashes are null on one side"));
    EXPECT_EQ(against("shards/manifest.json", {"--dry-run"}).code, 1);
}

TEST(ThereAndBack, CutLayersAreNamedUnlessAnotherCopyHasThem) {
    const TemporaryFolder folder;
    copy_model(kDemo, folder / "model");
    ASSERT_EQ(run_words({{"load", kDemo, "--layers", "2", "--out", folder / "two"}, kLayouts[0]}).code, 0);
    ASSERT_EQ(run_words({{"load", kDemo, "--layers", "1", "--out", folder / "direct"}, kLayouts[3]}).code, 0);
    const Printed one =
        run_words({{"load", "--from-shards", folder / "two", "--layers", "1", "--out", folder / "one"}, kLayouts[3]});
    ASSERT_EQ(one.code, 0) << one.err;
    expect_same_files(folder / "one", folder / "direct");
    const Printed three =
        run_words({{"load", "--from-shards", folder / "two", "--layers", "3", "--out", folder / "no"}, kLayouts[3]});
    EXPECT_EQ(three.code, 2);
    EXPECT_THAT(three.err, HasSubstr("--layers"));

    const Printed refused = run_command_line({"merge", folder / "one", "--out", folder / "no"});
    EXPECT_EQ(refused.code, 2);
    EXPECT_THAT(refused.err, AllOf(HasSubstr("checkpoint.json: model.layers."), HasSubstr("no shard holds them"),
                                   HasSubstr("--rest")));
    EXPECT_FALSE(fs::exists(folder / "no"));
    const Printed whole = run_command_line({"merge", folder / "one", "--rest", kDemo, "--out", folder / "back"});
    ASSERT_EQ(whole.code, 0) << whole.err;
    expect_same_files(folder / "back", folder / "model");
}

}  // namespace
}  // namespace shardproof::reports
