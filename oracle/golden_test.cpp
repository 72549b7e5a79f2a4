// The oracle against logits of the public implementation: every folder of oracle/golden.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "oracle/model/batch.hpp"
#include "oracle/model/checkpoint.hpp"
#include "oracle/model/config.hpp"
#include "oracle/transformer.hpp"

namespace shardproof::oracle {
namespace {

namespace fs = std::filesystem;

struct Golden {
    std::string name;
    ModelConfig config;
    Checkpoint checkpoint;
    Batch batch;
    std::vector<double> logits;
};

std::vector<std::string> golden_names() {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator{fs::path{SHARDPROOF_SOURCE_DIR} / "oracle/golden"}) {
        if (fs::exists(entry.path() / "golden.safetensors")) names.push_back(entry.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
}

Golden open_golden(const std::string& name) {
    const fs::path folder = fs::path{SHARDPROOF_SOURCE_DIR} / "oracle/golden" / name;
    Golden golden{name, read_config(folder / "config.json"), Checkpoint::open(folder), {}, {}};
    const InputIds input = read_input_ids(folder / "golden.safetensors", golden.config);
    golden.batch = deal_batch(input.ids, input.num_sequences, input.sequence_length, 1);
    const SafetensorsFile file{map_file(folder / "golden.safetensors", name)};
    const SafetensorsEntry* entry = file.find("logits");
    if (entry == nullptr || entry->dtype != DType::F64) throw std::runtime_error{name + ": no logits in F64"};
    const TensorView view = file.view(*entry);
    for (std::int64_t i = 0; i < num_elements(view.shape); ++i) golden.logits.push_back(element_as_double(view, i));
    return golden;
}

constexpr std::int64_t kShortest = 10;  // tokens of a sequence, of all goldens

// Largest difference from the golden, in units of the largest logit.
double difference(const Golden& golden, const ModelConfig& config) {
    const Logits logits = forward(config, golden.checkpoint, golden.batch);
    EXPECT_EQ(logits.values.size(), golden.logits.size());
    double largest = 0.0;
    double off = 0.0;
    for (std::size_t i = 0; i < golden.logits.size(); ++i) {
        largest = std::max(largest, std::abs(golden.logits[i]));
        const double error = std::abs(logits.values[i] - golden.logits[i]);
        if (!(error <= off)) off = error;
    }
    return off / largest;
}

class GoldenLogits : public testing::TestWithParam<std::string> {};

TEST_P(GoldenLogits, AgreeTo1e10OfTheLargest) {
    const Golden golden = open_golden(GetParam());
    const double off = difference(golden, golden.config);
    std::printf("%-16s off by %.2e of the largest logit\n", GetParam().c_str(), off);
    EXPECT_LE(off, 1e-10);
}

bool has_moe(const ModelConfig& config) { return config.first_moe_layer().has_value(); }

RopeSpec& rope_of(ModelConfig& config) {
    return std::visit([](auto& spec) -> RopeSpec& { return spec.rope; }, config.attention);
}

Llama4Attention* llama4_of(ModelConfig& config) { return std::get_if<Llama4Attention>(&config.attention); }

// The last layer: all others would do as well.
void flip_last(std::vector<bool>& layers) { layers.back() = !layers.back(); }

// The tester tested: each switch, altered in the config alone, must be seen.
TEST_P(GoldenLogits, SeeEverySwitch) {
    struct Alteration {
        const char* name;
        bool (*alter)(ModelConfig&);  // false: this model does not have that switch
    };
    const std::vector<Alteration> alterations{
        {"norm_topk",
         [](ModelConfig& c) {
             c.router.norm_topk = !c.router.norm_topk;
             return has_moe(c);
         }},
        {"top_k",
         [](ModelConfig& c) {
             c.router.top_k -= 1;
             return c.router.top_k > 0 && has_moe(c);
         }},
        {"theta",
         [](ModelConfig& c) {
             rope_of(c).theta *= 1.01;
             return true;
         }},
        {"rope scaling",
         [](ModelConfig& c) {
             const bool scaled = rope_of(c).scaling != RopeScaling::none;
             rope_of(c).scaling = RopeScaling::none;
             return scaled;
         }},
        {"rope factor",
         [](ModelConfig& c) {
             rope_of(c).factor *= 1.5;
             return rope_of(c).scaling != RopeScaling::none;
         }},
        {"yarn attention factor",
         [](ModelConfig& c) {
             rope_of(c).attention_factor = rope_of(c).attention_factor.value_or(1.0) * 1.3;
             return rope_of(c).scaling == RopeScaling::yarn;
         }},
        {"rms_norm_eps",
         [](ModelConfig& c) {
             c.rms_norm_eps *= 1.5;
             return true;
         }},
        {"qk_norm",
         [](ModelConfig& c) {
             return std::visit([](auto& spec) { return std::exchange(spec.qk_norm, false); }, c.attention);
         }},
        {"tied head",
         [](ModelConfig& c) {
             const bool untied = !c.tie_embeddings;
             c.tie_embeddings = true;
             return untied;
         }},
        {"rope pairs",
         [](ModelConfig& c) {
             RopePairs& pairs = rope_of(c).pairs;
             pairs = pairs == RopePairs::halves ? RopePairs::neighbours : RopePairs::halves;
             return true;
         }},
        {"score on",
         [](ModelConfig& c) {
             c.router.score_on = c.router.score_on == ScoreOn::input ? ScoreOn::output : ScoreOn::input;
             return has_moe(c);
         }},
        {"score function",
         [](ModelConfig& c) {
             c.router.score = ScoreFunction::softmax;
             return llama4_of(c) != nullptr;
         }},
        {"shared expert", [](ModelConfig& c) { return std::exchange(c.shared_intermediate_size, 0) > 0; }},
        {"rope layers",
         [](ModelConfig& c) {
             if (llama4_of(c) != nullptr) flip_last(llama4_of(c)->rope_layers);
             return llama4_of(c) != nullptr;
         }},
        {"chunked layers",
         [](ModelConfig& c) {
             if (llama4_of(c) == nullptr) return false;
             flip_last(llama4_of(c)->chunked_layers);
             return llama4_of(c)->chunk_size < kShortest;
         }},
        {"chunk size",
         [](ModelConfig& c) { return llama4_of(c) != nullptr && llama4_of(c)->chunk_size++ < kShortest; }},
        {"no temperature",
         [](ModelConfig& c) {
             if (llama4_of(c) == nullptr || !llama4_of(c)->temperature) return false;
             return std::exchange(llama4_of(c)->temperature, std::nullopt)->floor_scale < kShortest;
         }},
        {"floor scale",
         [](ModelConfig& c) {
             if (llama4_of(c) == nullptr || !llama4_of(c)->temperature) return false;
             return llama4_of(c)->temperature->floor_scale++ < kShortest;
         }},
        {"attn scale",
         [](ModelConfig& c) {
             if (llama4_of(c) == nullptr || !llama4_of(c)->temperature) return false;
             llama4_of(c)->temperature->attn_scale *= 1.5;
             return llama4_of(c)->temperature->floor_scale < kShortest;
         }},
    };
    const Golden golden = open_golden(GetParam());
    for (const Alteration& alteration : alterations) {
        ModelConfig altered = golden.config;
        if (!alteration.alter(altered)) continue;
        const double off = difference(golden, altered);
        EXPECT_GT(off, 1e-8) << alteration.name;
    }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenLogits, testing::ValuesIn(golden_names()), [](const auto& named) {
    std::string name = named.param;
    std::replace_if(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
    return name;
});

TEST(Goldens, AreEnoughOfEachFamily) {
    std::map<std::string, int> of_family;
    for (const std::string& name : golden_names()) ++of_family[open_golden(name).config.family];
    EXPECT_GE(of_family["qwen3_moe"], 6);
    EXPECT_GE(of_family["llama4"] + of_family["llama4_text"], 4);
    EXPECT_GE(of_family["llama4"], 1);
}

}  // namespace
}  // namespace shardproof::oracle
