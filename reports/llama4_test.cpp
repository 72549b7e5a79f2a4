// Every command on Llama 4's checkpoints, as published beside a vision model and of text alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "oracle/model/safetensors.hpp"
#include "reports/command_runner.hpp"

namespace shardproof::reports {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

const std::string kGoldens = SHARDPROOF_SOURCE_DIR "/oracle/golden/";
const std::string kNested = kGoldens + "llama4-nested";
const char* const kNote = "note: 26 vision tensors left alone (vision_model.*, multi_modal_projector.*)";

using Words = std::vector<std::string>;
Words operator+(Words a, const Words& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

const Words kVllm{"--dp-shard", "2", "--tp", "2", "--ep", "4", "--rules", "vllm"};
const Words kFourRanks{"--dp-shard", "2", "--tp", "2", "--ep", "2", "--rules", "titan-train", "--sp"};

TEST(Llama4Commands, InspectNamesTheFamilyAndCountsWhatATokenUses) {
    const Printed printed = run_command_line({"inspect", kNested, "--json", "-"});
    ASSERT_EQ(printed.code, 0) << printed.err;
    EXPECT_THAT(printed.err, HasSubstr(kNote));
    const json answer = json::parse(printed.out);
    EXPECT_EQ(answer["family"], "llama4");
    std::int64_t of_text = 0;
    for (const json& tensor : answer["tensors"]) {
        std::int64_t elements = 1;
        for (const json& extent : tensor["shape"]) elements *= extent.get<std::int64_t>();
        if (tensor["name"].get<std::string>().starts_with("language_model.")) of_text += elements;
    }
    EXPECT_LT(of_text, answer["parameters"].get<std::int64_t>());
    // Of 6 experts 5 are idle: 3 * 32 * 14 elements each, in four layers.
    EXPECT_EQ(answer["active_parameters"], of_text - 4 * 5 * 3 * 32 * 14);
    EXPECT_THAT(run_command_line({"inspect", kNested}).out, HasSubstr("shared expert: hidden 14, every token"));
    EXPECT_THAT(run_command_line({"inspect", kGoldens + "llama4-tied"}).err, Not(HasSubstr("vision")));
}

TEST(Llama4Commands, PlanKnowsSharedExpertsAndFusedTensors) {
    const Printed printed = run_command_line(Words{"plan", kNested, "--json", "-"} + kFourRanks);
    ASSERT_EQ(printed.code, 0) << printed.err;
    EXPECT_THAT(printed.err, HasSubstr(kNote));
    const json answer = json::parse(printed.out);
    const auto param = [&](const std::string& name) {
        for (const json& p : answer["params"]) {
            if (p["name"] == name) return p;
        }
        return json{};
    };
    const std::string block = "language_model.model.layers.3.feed_forward.";
    const json w3 = param("layers.3.moe.experts.w3");
    EXPECT_EQ(w3["shape"], (json{6, 14, 32}));
    EXPECT_EQ(w3["checkpoint"], json{block + "experts.gate_up_proj"});
    EXPECT_EQ(w3["placements"]["ep"], "S(0)");
    const json shared = param("layers.3.moe.shared_experts.w2.weight");
    EXPECT_EQ(shared["mesh"], "dense");
    EXPECT_EQ(shared["placements"]["tp"], "S(1)");
    EXPECT_EQ(shared["checkpoint"], json{block + "shared_expert.down_proj.weight"});
}

TEST(Llama4Commands, CheckHoldsWithTheReferenceOfEveryGolden) {
    for (const char* name :
         {"llama4-nested", "llama4-chunks", "llama4-temperature", "llama4-tied", "llama4-nested-all"}) {
        const std::string golden = kGoldens + name + "/golden.safetensors";
        const Printed printed = run_command_line({"check", kGoldens + name, "--dp-shard", "2", "--ep", "2", "--rules",
                                                  "titan-infer", "--input-ids", golden, "--reference", golden});
        EXPECT_EQ(printed.code, 0) << name << printed.out << printed.err;
    }
}

TEST(Llama4Commands, CheckHoldsUnderOtherRules) {
    const std::string ids = kNested + "/golden.safetensors";
    const std::vector<Words> layouts{
        kVllm, kFourRanks, Words{"--tp", "2", "--rules", "vllm"},
        Words{"--dp-shard", "2", "--tp", "2", "--ep", "2", "--etp", "2", "--rules", "megatron"}};
    for (const Words& layout : layouts) {
        for (const char* dtype : {"f32", "bf16"}) {
            const Printed printed =
                run_command_line(Words{"check", kNested, "--input-ids", ids, "--dtype", dtype} + layout);
            EXPECT_EQ(printed.code, 0) << printed.out << printed.err;
            EXPECT_THAT(printed.err, HasSubstr(kNote));
        }
    }
}

TEST(Llama4Commands, CheckSeesAFaultInTheFusedExperts) {
    const Printed printed = run_command_line(Words{"check", kNested, "--plant", "m22-transposed"} + kFourRanks);
    EXPECT_EQ(printed.code, 1);
    EXPECT_THAT(printed.out, AllOf(HasSubstr("moe.experts.w3"), HasSubstr("not those of the checkpoint")));
}

TEST(Llama4Commands, LoadTurnsEveryExpertsMatrix) {
    const TemporaryFolder folder;
    const std::string out = folder / "shards";
    const Printed printed = run_command_line(Words{"load", kNested, "--out", out} + kFourRanks);
    ASSERT_EQ(printed.code, 0) << printed.err;
    EXPECT_THAT(printed.err, HasSubstr(kNote));
    const SafetensorsFile rank{map_file(out + "/rank_00001.safetensors", "rank 1")};
    const TensorView w1 = rank.view(*rank.find("layers.0.moe.experts.w1"));
    // Rank 1 is the second of ep and of its efsdp pair the first: experts 3 and 4 of 6.
    ASSERT_EQ(w1.shape, (Shape{2, 14, 32}));
    const SafetensorsFile first{map_file(kNested + "/model-00001-of-00002.safetensors", "model")};
    const TensorView fused = first.view(*first.find("language_model.model.layers.0.feed_forward.experts.gate_up_proj"));
    for (std::int64_t f = 0; f < 14; ++f) {
        for (std::int64_t d = 0; d < 32; ++d)
            ASSERT_EQ(element_as_double(w1, f * 32 + d), element_as_double(fused, (3 * 32 + d) * 28 + f));
    }
    for (const SafetensorsEntry& entry : rank.header().entries)
        EXPECT_FALSE(entry.name.starts_with("vision")) << entry.name;
}

TEST(Llama4Commands, RunAndForecastTakeIt) {
    const TemporaryFolder folder;
    const std::string ids = kNested + "/golden.safetensors";
    for (const char* backend : {"oracle", "sim"}) {
        const Printed printed = run_command_line({"run", kNested, "--backend", backend, "--input-ids", ids, "--out",
                                                  folder / (std::string{backend} + ".safetensors")});
        EXPECT_EQ(printed.code, 0) << printed.err;
    }
    const Printed forecast = run_command_line(Words{"plan", kNested, "--tokens", "64"} + kFourRanks);
    EXPECT_EQ(forecast.code, 0) << forecast.err;
    EXPECT_THAT(forecast.out, AllOf(HasSubstr("shared output"), HasSubstr("shared input")));
}

TEST(Llama4Commands, GpuRanksAreRefusedBeforeAnyAreLookedFor) {
    const Printed printed = run_command_line({"check", kNested, "--backend", "gpu", "--dp-shard", "2", "--ep", "2"});
    EXPECT_EQ(printed.code, 2);
    EXPECT_THAT(printed.err, HasSubstr("--backend=gpu: must be sim where every token goes through a shared expert"));
}

}  // namespace
}  // namespace shardproof::reports
