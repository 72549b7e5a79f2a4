// Folders that load wrote and something spoilt: load --from-shards and merge refuse them by file and parameter.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "oracle/model/safetensors.hpp"
#include "reports/command_runner.hpp"

namespace shardproof::reports {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

using Words = std::vector<std::string>;

const std::string kDemo = SHARDPROOF_SOURCE_DIR "/oracle/golden/demo";

// A folder of four ranks to spoil.
class SpoiltShards : public testing::Test {
protected:
    void SetUp() override {
        ASSERT_EQ(run_command_line({"load", kDemo, "--dp-shard", "2", "--tp", "2", "--ep", "4", "--out", shards_}).code,
                  0);
        manifest_ = json::parse(text_of(shards_ + "/manifest.json"));
    }
    // Refused by both commands that read it, in one line, with nothing written.
    void expect_refused(const std::string& what) {
        for (const Words& command : {Words{"load", "--from-shards", shards_, "--tp", "2"}, Words{"merge", shards_}}) {
            Words args = command;
            args.insert(args.end(), {"--out", folder_ / "out"});
            const Printed printed = run_command_line(args);
            EXPECT_EQ(printed.code, 2) << printed.out;
            EXPECT_THAT(printed.err, HasSubstr(what));
            EXPECT_EQ(std::ranges::count(printed.err, '\n'), 1) << printed.err;
            EXPECT_FALSE(fs::exists(folder_ / "out"));
        }
    }
    void expect_refused(const json& manifest, const std::string& what) {
        write_text(shards_ + "/manifest.json", manifest.dump());
        expect_refused(what);
        write_text(shards_ + "/manifest.json", manifest_.dump());
    }
    // Flips the last byte of a tensor.
    void spoil(const std::string& file, const std::string& tensor) {
        std::uint64_t end = 0;
        {
            const SafetensorsFile read(map_file(shards_ + "/" + file, file));
            end = read.find(tensor)->end;
        }
        std::fstream stream(shards_ + "/" + file, std::ios::binary | std::ios::in | std::ios::out);
        stream.seekg(static_cast<std::streamoff>(end) - 1);
        const char byte = static_cast<char>(stream.get() ^ 1);
        stream.seekp(static_cast<std::streamoff>(end) - 1);
        stream.put(byte);
    }
    std::size_t param_idx(const std::string& name) const {
        const json& params = manifest_["ranks"][0]["params"];
        return static_cast<std::size_t>(std::ranges::find_if(params, [&](const json& p) { return p["name"] == name; }) -
                                        params.begin());
    }

    const TemporaryFolder folder_;
    const std::string shards_ = folder_ / "shards";
    json manifest_;
};

TEST_F(SpoiltShards, OtherBytesThanWereWritten) {
    spoil("rank_00002.safetensors", "layers.1.moe.experts.w2");
    expect_refused("rank_00002.safetensors: layers.1.moe.experts.w2=xxh64 ");
    // Nothing is read for a dry run.
    EXPECT_EQ(run_command_line({"load", "--from-shards", shards_, "--tp", "2", "--dry-run"}).code, 0);
}

TEST_F(SpoiltShards, ReplicasThatDiffer) {
    spoil("rank_00003.safetensors", "layers.0.attention.wk.weight");
    for (json& rank : manifest_["ranks"]) rank["params"][param_idx("layers.0.attention.wk.weight")]["xxh64"] = nullptr;
    expect_refused(manifest_, "rank_00003.safetensors: layers.0.attention.wk.weight=xxh64 ");
    expect_refused(manifest_, "that of rank_00001.safetensors, which holds the same elements");
}

TEST_F(SpoiltShards, OverlapsThatDiffer) {
    // Experts 0..7 and 4..11 and the rest: two shards share four experts.
    write_text(folder_ / "map.json",
               R"({"physical_to_logical_map": [0,1,2,3,4,5,6,7,8,9, 6,7,10,11,12,13,14,15,0,1]})");
    fs::remove_all(shards_);
    ASSERT_EQ(run_command_line({"load", kDemo, "--rules", "vllm", "--dp-shard", "2", "--ep", "2", "--expert-map",
                                folder_ / "map.json", "--out", shards_})
                  .code,
              0);
    manifest_ = json::parse(text_of(shards_ + "/manifest.json"));
    EXPECT_EQ(run_command_line({"merge", shards_, "--out", folder_ / "fine"}).code, 0);
    spoil("rank_00001.safetensors", "layers.1.moe.experts.w3");  // expert 1's last element, which rank 0 has too
    for (json& rank : manifest_["ranks"]) rank["params"][param_idx("layers.1.moe.experts.w3")]["xxh64"] = nullptr;
    expect_refused(manifest_, "must be what another rank holds of the same element");
}

TEST_F(SpoiltShards, ElementsThatNoRankHolds) {
    json lacking = manifest_;
    const std::size_t p = param_idx("layers.2.moe.experts.w1");
    // Ranks hold four experts each: rank 1's are gone where it says that it holds rank 0's.
    lacking["ranks"][1]["params"][p]["index"] = lacking["ranks"][0]["params"][p]["index"];
    expect_refused(lacking, "layers.2.moe.experts.w1=[4:8][0:40][0:64]: must be held by a rank");
}

TEST_F(SpoiltShards, RankFilesThatAreNotThoseOfTheManifest) {
    fs::rename(shards_ + "/rank_00001.safetensors", folder_ / "aside");
    expect_refused("rank_00001.safetensors: file missing");
    fs::create_directory(shards_ + "/rank_00001.safetensors");
    expect_refused("rank_00001.safetensors: must be a regular file");
    fs::remove(shards_ + "/rank_00001.safetensors");
    fs::copy(shards_ + "/rank_00000.safetensors", shards_ + "/rank_00001.safetensors");
    expect_refused("rank_00001.safetensors: ");  // rank 0's shapes or bytes
    fs::rename(folder_ / "aside", shards_ + "/rank_00001.safetensors");
    fs::copy(shards_ + "/rank_00000.safetensors", shards_ + "/rank_00004.safetensors");
    expect_refused("rank_00004.safetensors: must hold no rank files beyond manifest.json's world of 4");
    fs::remove(shards_ + "/rank_00004.safetensors");
    fs::resize_file(shards_ + "/rank_00003.safetensors", fs::file_size(shards_ + "/rank_00003.safetensors") - 1);
    expect_refused("rank_00003.safetensors: ");
    fs::remove(shards_ + "/manifest.json");
    expect_refused("manifest.json: file missing");
}

TEST_F(SpoiltShards, ManifestsThatAreNotOfTheFiles) {
    const auto param = [](json& manifest) -> json& { return manifest["ranks"][2]["params"][3]; };
    const auto altered = [&](const auto& alter) {
        json manifest = manifest_;
        alter(manifest);
        return manifest;
    };
    expect_refused(altered([&](json& m) { m["ranks"].erase(3); }), "ranks=3 ranks: must be 4, the world");
    expect_refused(altered([&](json& m) { m["ranks"].erase(1); }), "ranks[1].rank=2: must be 1");
    expect_refused(altered([&](json& m) { m["ranks"][1]["file"] = "../x"; }),
                   "ranks[1].file=../x: must be rank_00001.safetensors");
    expect_refused(altered([&](json& m) { m["family"] = "llama4"; }), "family=llama4: must be that of config.json");
    expect_refused(altered([&](json& m) { param(m)["name"] = "x"; }), "ranks[2].params[3].name=x: must be a parameter");
    expect_refused(altered([&](json& m) { param(m) = m["ranks"][2]["params"][2]; }), "must come once a rank");
    expect_refused(altered([&](json& m) { param(m)["dtype"] = "F32"; }), "must be BF16, as on ranks before");
    expect_refused(altered([&](json& m) { param(m)["shape"][0] = 3; }), "ranks[2].params[3].shape=[3,");
    expect_refused(altered([&](json& m) { param(m)["index"][0][0][1] = 100000; }), "must be a run [start, stop) of");
    expect_refused(altered([&](json& m) { param(m)["index"].erase(0); }), "ranks[2].params[3].index=1 dims");
    expect_refused(altered([&](json& m) { m["ranks"][2]["params"].erase(3); }),
                   "tensor unexpected: manifest.json does not list it");
    expect_refused(altered([&](json& m) {
                       for (json& rank : m["ranks"]) rank["params"][3]["dtype"] = "F32";
                   }),
                   "dtype must be F32, as in manifest.json");
}

TEST_F(SpoiltShards, WhatMergeReadsBesideTheManifest) {
    const std::string file = shards_ + "/checkpoint.json";
    const json good = json::parse(text_of(file));
    const auto refusal = [&](const json& origin) {
        write_text(file, origin.dump());
        const Printed printed = run_command_line({"merge", shards_, "--out", folder_ / "out"});
        EXPECT_EQ(printed.code, 2) << printed.out;
        EXPECT_FALSE(fs::exists(folder_ / "out"));
        return printed.err;
    };
    json bad = good;
    bad["files"][0]["name"] = "../../escaped";
    EXPECT_THAT(refusal(bad), HasSubstr("files[0].name=\"../../escaped\": must be a file of the index, once"));
    bad = good;
    bad["files"].erase(1);
    EXPECT_THAT(refusal(bad), HasSubstr("must have model-00002-of-00002.safetensors"));
    bad = good;
    bad["files"][0]["header"] = R"({"lm_head.weight":{"dtype":"BF16","shape":[259,64],"data_offsets":[8,33160]}})";
    EXPECT_THAT(refusal(bad), HasSubstr("lm_head.weight=[8,33160]: must begin where the tensor before it ends"));
    bad["files"][0]["header"] = R"({"lm_head.weight":{"dtype":"BF16","shape":[64,259],"data_offsets":[0,33152]}})";
    EXPECT_THAT(refusal(bad), HasSubstr("lm_head.weight=[0,33152]: must have the dtype and the shape"));
    bad["files"][0]["header"] = R"({"lm_head.weight":{"dtype":"BF16","shape":[259,64],"data_offsets":[0,4]}})";
    EXPECT_THAT(refusal(bad), HasSubstr("lm_head.weight=[0,4]: must have 33152 bytes"));
    bad["files"][0]["header"] = "{";
    EXPECT_THAT(refusal(bad), HasSubstr("checkpoint.json"));
    bad = good;
    bad["layers"] = 9;
    EXPECT_THAT(refusal(bad), HasSubstr("checkpoint.json: layers=9: must be from 1 to 3"));
    fs::remove(file);
    EXPECT_THAT(run_command_line({"merge", shards_, "--out", folder_ / "out"}).err,
                HasSubstr("checkpoint.json: file missing"));
    EXPECT_EQ(run_command_line({"load", "--from-shards", shards_, "--tp", "2", "--out", folder_ / "out"}).code, 0);
}

TEST_F(SpoiltShards, FoldersAndOptionsThatDoNotFit) {
    const Printed both = run_command_line({"load", kDemo, "--from-shards", shards_, "--out", folder_ / "out"});
    EXPECT_EQ(both.code, 2);
    EXPECT_THAT(both.err, HasSubstr("must not be given together with --from-shards"));
    EXPECT_THAT(run_command_line({"load", "--out", folder_ / "out"}).err, HasSubstr("MODEL: must be given"));
    const Words same{"load", "--from-shards", shards_, "--tp", "2", "--out", shards_ + "/"};
    EXPECT_THAT(run_command_line(same).err, HasSubstr("--out: must be another folder than the one that is read"));
    EXPECT_THAT(run_command_line({"load", kDemo, "--out", kDemo}).err, HasSubstr("must be another folder"));
    const Printed merged = run_command_line({"merge", shards_, "--out", shards_});
    EXPECT_EQ(merged.code, 2);
    EXPECT_THAT(merged.err, HasSubstr("--out: must be an empty folder, or not be there yet"));
    fs::create_directory(folder_ / "others");
    write_text(folder_ / "others/config.json", "{}");
    EXPECT_THAT(run_command_line({"load", kDemo, "--out", folder_ / "others"}).err,
                HasSubstr("--out=config.json: must not be that of another model"));
    EXPECT_EQ(text_of(folder_ / "others/config.json"), "{}");
    fs::create_directory(folder_ / "empty");
    EXPECT_EQ(run_command_line({"merge", shards_, "--out", folder_ / "empty"}).code, 0);
    EXPECT_TRUE(fs::exists(folder_ / "empty/config.json"));
}

}  // namespace
}  // namespace shardproof::reports
