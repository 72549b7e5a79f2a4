#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "oracle/model/checkpoint.hpp"
#include "reports/command_runner.hpp"
#include "reports/synth.hpp"

namespace shardproof::reports {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string kGoldens = SHARDPROOF_SOURCE_DIR "/oracle/golden/";
const std::string kDemo = kGoldens + "demo";

json answer_of(std::vector<std::string> args) {
    args.insert(args.end(), {"--json", "-"});
    const Printed printed = run_command_line(args);
    EXPECT_EQ(printed.code, 0) << printed.err;
    return printed.code == 0 ? json::parse(printed.out) : json{};
}

// Name, dtype and shape of every tensor.
std::vector<std::string> tensors_of(const std::string& model) {
    std::vector<std::string> tensors;
    const json inspected = answer_of({"inspect", model});
    for (const json& tensor : inspected["tensors"]) {
        tensors.push_back(tensor["name"].get<std::string>() + tensor["dtype"].get<std::string>() +
                          tensor["shape"].dump());
    }
    return tensors;
}

TEST(SynthCommand, WritesTheTensorsOfThePublishedCheckpointInEveryGolden) {
    for (const char* name : {"demo", "dynamic", "sparse-step", "tied-dense"}) {
        const TemporaryFolder folder;
        const json index = json::parse(text_of(
            kGoldens + name +
            (fs::exists(kGoldens + name + "/model.safetensors") ? "/config.json" : "/model.safetensors.index.json")));
        const std::string dtype = answer_of({"inspect", kGoldens + name})["tensors"][0]["dtype"];
        const json answer = answer_of({"synth", kGoldens + name + "/config.json", "--dtype", dtype, "--seed", "5",
                                       "--max-shard-size", "60000", "--out", folder / "model"});
        EXPECT_EQ(tensors_of(folder / "model"), tensors_of(kGoldens + name)) << name;
        EXPECT_EQ(text_of(folder / "model/config.json"), text_of(kGoldens + name + "/config.json"));
        EXPECT_EQ(answer["tensors"], tensors_of(kGoldens + name).size());
        EXPECT_EQ(answer["seed"], 5);
        EXPECT_EQ(answer["dtype"], dtype);
        EXPECT_EQ(answer["sparse"], false);
        EXPECT_GT(answer["files"].size(), 1U);
        for (const json& file : answer["files"])
            EXPECT_EQ(file["bytes"], fs::file_size(folder / ("model/" + file["path"].get<std::string>())));
        if (index.contains("metadata")) {
            const json ours = json::parse(text_of(folder / "model/model.safetensors.index.json"));
            EXPECT_EQ(ours["metadata"]["total_size"], index["metadata"]["total_size"]);
        }
        EXPECT_TRUE(Checkpoint::open(folder / "model").notes().empty());
    }
}

TEST(SynthCommand, WhatItWritesChecksAndLoads) {
    const TemporaryFolder folder;
    for (const std::string dtype : {"BF16", "F16", "F32"}) {
        const std::string model = folder / dtype;
        ASSERT_EQ(run_command_line({"synth", kDemo + "/config.json", "--dtype", dtype, "--out", model}).code, 0);
        EXPECT_FALSE(fs::exists(model + "/model.safetensors.index.json"));
        const json verdict = answer_of({"check", model, "--dp-shard", "2", "--tp", "2", "--ep", "4", "--tokens", "32"});
        EXPECT_TRUE(verdict["ok"].get<bool>());
        for (const json& layer : verdict["layers"]) EXPECT_LT(layer["bound"], 1e-2);  // values of sensible size
    }
}

TEST(SynthCommand, TheSameSeedGivesTheSameFilesAndAnotherOthers) {
    const TemporaryFolder folder;
    const auto bytes = [&](const std::string& name, const std::string& seed) {
        EXPECT_EQ(run_command_line({"synth", kDemo, "--seed", seed, "--out", folder / name}).code, 0);
        return text_of(folder / (name + "/model.safetensors"));
    };
    const std::string first = bytes("a", "1");
    EXPECT_TRUE(first == bytes("b", "1"));
    EXPECT_FALSE(first == bytes("c", "2"));
    // Header and order are those of every other file that this program writes.
    const Checkpoint checkpoint = Checkpoint::open(folder / "a");
    std::vector<std::pair<std::string, TensorView>> tensors;
    for (const auto& [name, item] : checkpoint.items()) tensors.emplace_back(name, checkpoint.tensor(name));
    const std::vector<std::byte> written = to_safetensors(tensors, {{"format", "pt"}});
    EXPECT_TRUE(std::string(reinterpret_cast<const char*>(written.data()), written.size()) == first);
}

TEST(SynthCommand, SparseHasTheSameHeadersAndHoles) {
    const TemporaryFolder folder;
    const std::vector<std::string> split{"--max-shard-size", "200000"};
    for (const char* name : {"dense", "sparse"}) {
        std::vector<std::string> args{"synth", kDemo, "--out", folder / name};
        args.insert(args.end(), split.begin(), split.end());
        if (std::string{name} == "sparse") args.emplace_back("--sparse");
        ASSERT_EQ(run_command_line(args).code, 0);
    }
    std::size_t num_files = 0;
    for (const auto& entry : fs::directory_iterator(folder / "dense")) {
        const std::string name = entry.path().filename().string();
        const std::string dense = text_of(entry.path().string());
        const std::string sparse = text_of(folder / ("sparse/" + name));
        ASSERT_EQ(sparse.size(), dense.size()) << name;
        if (entry.path().extension() == ".json") {
            EXPECT_EQ(sparse, dense);
            continue;
        }
        ++num_files;
        std::uint64_t length = 0;
        std::memcpy(&length, dense.data(), sizeof length);
        EXPECT_TRUE(sparse.substr(0, 8 + length) == dense.substr(0, 8 + length)) << name;
        EXPECT_EQ(sparse.find_first_not_of('\0', 8 + length), std::string::npos) << name;
        struct stat status{};
        ASSERT_EQ(::stat((folder / ("sparse/" + name)).c_str(), &status), 0);
        EXPECT_LT(status.st_blocks * 512, 64 * 1024);
    }
    EXPECT_EQ(num_files, 4U);
}

TEST(SplitIntoFiles, FillsFilesInOrderAndGivesALargeTensorItsOwn) {
    const auto tensor = [](const char* name, std::int64_t elements) {
        return SyntheticTensor{.name = name, .shape = {elements}};
    };
    const std::vector<SyntheticTensor> tensors{tensor("f", 20),  tensor("e", 30), tensor("d", 1),
                                               tensor("c", 100), tensor("b", 49), tensor("a", 1)};
    const auto names = [&](std::uint64_t bytes_max) {
        std::vector<std::string> files;
        for (const SynthFile& file : split_into_files(tensors, {.shard_bytes_max = bytes_max})) {
            files.push_back(file.name.substr(6, 5) + ":");
            for (const SyntheticTensor* const one : file.tensors) files.back() += one->name;
        }
        return files;
    };
    EXPECT_THAT(names(100), ElementsAre("00001:ef", "00002:c", "00003:bd", "00004:a"));
    EXPECT_THAT(names(1), testing::SizeIs(6));
    EXPECT_EQ(split_into_files(tensors, {.shard_bytes_max = 402}).at(0).name, "model.safetensors");
}

TEST(SynthCommand, RefusesWhatItCannotWrite) {
    const TemporaryFolder folder;
    const auto refusal = [&](std::vector<std::string> args) {
        args.insert(args.begin(), "synth");
        const Printed printed = run_command_line(args);
        EXPECT_EQ(printed.code, 2) << printed.out;
        return printed.err;
    };
    const std::string out = folder / "out";
    EXPECT_THAT(refusal({kDemo, "--out", out, "--dtype", "F64"}), HasSubstr("--dtype=F64: must be BF16, F16 or F32"));
    EXPECT_THAT(refusal({kDemo, "--out", out, "--seed", "-1"}), HasSubstr("--seed=-1: must be >= 0"));
    EXPECT_THAT(refusal({kDemo, "--out", out, "--max-shard-size", "0"}), HasSubstr("--max-shard-size=0"));
    EXPECT_THAT(refusal({folder / "absent.json", "--out", out}), HasSubstr("absent.json: file missing"));
    EXPECT_THAT(refusal({kDemo}), HasSubstr("--out: must be given"));
    EXPECT_THAT(refusal({kDemo, "--out", kDemo}), HasSubstr("must be an empty folder"));
    EXPECT_FALSE(fs::exists(out));
}

}  // namespace
}  // namespace shardproof::reports
