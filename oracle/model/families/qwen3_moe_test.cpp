#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "oracle/model/family.hpp"
#include "oracle/model/published_configs.hpp"

namespace shardproof {
namespace {

ModelConfig tiny() {
    ModelConfig config;
    config.family = "qwen3_moe";
    config.num_layers = 2;
    config.hidden_size = 12;
    config.vocab_size = 17;
    config.dense_intermediate_size = 10;
    config.moe_intermediate_size = 6;
    config.attention =
        GroupedQueryAttention{.num_heads = 4, .num_kv_heads = 2, .head_dim = 8, .qk_norm = true, .rope = {}};
    config.router = {.num_experts = 11, .top_k = 3};
    config.mlp = {MlpKind::dense, MlpKind::moe};
    return config;
}

std::vector<Parameter> parameters(const ModelConfig& config) { return family_of(config).parameters(config); }

std::int64_t num_elements(const std::vector<Parameter>& parameters) {
    return std::accumulate(
        parameters.begin(), parameters.end(), std::int64_t{0},
        [](std::int64_t sum, const Parameter& p) { return sum + shardproof::num_elements(p.shape); });
}

TEST(Qwen3Moe, ListsTheContractsNamesInModelOrderWithPublishedTensors) {
    std::vector<std::string> rows;
    for (const Parameter& p : parameters(tiny())) {
        rows.push_back(p.name + " " + to_string(p.shape) + " <- " + p.sources.front().tensor);
    }
    EXPECT_THAT(rows, testing::ElementsAre(
                          "tok_embeddings.weight [17,12] <- model.embed_tokens.weight",
                          "layers.0.attention_norm.weight [12] <- model.layers.0.input_layernorm.weight",
                          "layers.0.attention.wq.weight [32,12] <- model.layers.0.self_attn.q_proj.weight",
                          "layers.0.attention.wk.weight [16,12] <- model.layers.0.self_attn.k_proj.weight",
                          "layers.0.attention.wv.weight [16,12] <- model.layers.0.self_attn.v_proj.weight",
                          "layers.0.attention.wo.weight [12,32] <- model.layers.0.self_attn.o_proj.weight",
                          "layers.0.attention.q_norm.weight [8] <- model.layers.0.self_attn.q_norm.weight",
                          "layers.0.attention.k_norm.weight [8] <- model.layers.0.self_attn.k_norm.weight",
                          "layers.0.ffn_norm.weight [12] <- model.layers.0.post_attention_layernorm.weight",
                          "layers.0.feed_forward.w1.weight [10,12] <- model.layers.0.mlp.gate_proj.weight",
                          "layers.0.feed_forward.w2.weight [12,10] <- model.layers.0.mlp.down_proj.weight",
                          "layers.0.feed_forward.w3.weight [10,12] <- model.layers.0.mlp.up_proj.weight",
                          "layers.1.attention_norm.weight [12] <- model.layers.1.input_layernorm.weight",
                          "layers.1.attention.wq.weight [32,12] <- model.layers.1.self_attn.q_proj.weight",
                          "layers.1.attention.wk.weight [16,12] <- model.layers.1.self_attn.k_proj.weight",
                          "layers.1.attention.wv.weight [16,12] <- model.layers.1.self_attn.v_proj.weight",
                          "layers.1.attention.wo.weight [12,32] <- model.layers.1.self_attn.o_proj.weight",
                          "layers.1.attention.q_norm.weight [8] <- model.layers.1.self_attn.q_norm.weight",
                          "layers.1.attention.k_norm.weight [8] <- model.layers.1.self_attn.k_norm.weight",
                          "layers.1.ffn_norm.weight [12] <- model.layers.1.post_attention_layernorm.weight",
                          "layers.1.moe.router.gate.weight [11,12] <- model.layers.1.mlp.gate.weight",
                          "layers.1.moe.experts.w1 [11,6,12] <- model.layers.1.mlp.experts.0.gate_proj.weight",
                          "layers.1.moe.experts.w2 [11,12,6] <- model.layers.1.mlp.experts.0.down_proj.weight",
                          "layers.1.moe.experts.w3 [11,6,12] <- model.layers.1.mlp.experts.0.up_proj.weight",
                          "norm.weight [12] <- model.norm.weight", "lm_head.weight [17,12] <- lm_head.weight"));
}

TEST(Qwen3Moe, LeavesOutATiedHead) {
    ModelConfig config = tiny();
    config.tie_embeddings = true;
    EXPECT_EQ(parameters(config).back().name, "norm.weight");
    EXPECT_EQ(parameters(config).size() + 1, parameters(tiny()).size());
}

TEST(Qwen3Moe, NumbersLayersAndExpertsAsNumbersNotAsStrings) {
    const std::vector<Parameter> all = parameters(tiny());
    EXPECT_EQ(all[1].layer, 0);
    EXPECT_EQ(all[21].layer, 1);
    EXPECT_EQ(all.front().layer, std::nullopt);
    EXPECT_EQ(all.back().layer, std::nullopt);
    ASSERT_EQ(all[21].sources.size(), 11U);
    EXPECT_EQ(all[21].sources[10].tensor, "model.layers.1.mlp.experts.10.gate_proj.weight");
    EXPECT_EQ(all[21].sources[10].param_box, (Box{{10, 11}, {0, 6}, {0, 12}}));
}

// The next index of `box` in row-major order; false after the last.
bool advance(std::vector<std::int64_t>& idx, const Box& box) {
    for (std::size_t dim = idx.size(); dim-- > 0;) {
        if (++idx[dim] < box[dim].end) return true;
        idx[dim] = box[dim].begin;
    }
    return false;
}

// Each element of each parameter has one source, and no two elements the same element of a checkpoint tensor.
TEST(Qwen3Moe, SourcesTileEveryParameter) {
    std::set<std::string> tensors;
    for (const Parameter& p : parameters(tiny())) {
        std::set<std::vector<std::int64_t>> covered;
        for (const Source& source : p.sources) {
            EXPECT_TRUE(tensors.insert(source.tensor).second) << source.tensor;
            std::set<std::vector<std::int64_t>> taken;
            std::vector<std::int64_t> idx;
            for (const auto& run : source.param_box) idx.push_back(run.begin);
            do {
                EXPECT_TRUE(covered.insert(idx).second) << p.name;
                EXPECT_TRUE(taken.insert(tensor_index(source, idx)).second) << p.name;
            } while (advance(idx, source.param_box));
            EXPECT_EQ(static_cast<std::int64_t>(taken.size()), shardproof::num_elements(source.tensor_shape)) << p.name;
        }
        EXPECT_EQ(static_cast<std::int64_t>(covered.size()), shardproof::num_elements(p.shape)) << p.name;
    }
}

TEST(Qwen3Moe, CountsParametersAsPublished) {
    const auto counts = [](std::string_view text) {
        const ModelConfig config = parse_config(text, "config.json");
        return std::pair{num_elements(parameters(config)), family_of(config).active_parameters(config)};
    };
    EXPECT_EQ(counts(kQwen3_30B_A3B).first, 30'532'122'624);   // "30.5B in total, 3.3B activated"
    EXPECT_EQ(counts(kQwen3_30B_A3B).second, 3'353'032'704);
    EXPECT_EQ(counts(kQwen3_235B_A22B).first, 235'093'634'560);  // "235B in total, 22B activated"
    EXPECT_EQ(counts(kQwen3_235B_A22B).second / 1'000'000'000, 22);
    EXPECT_EQ(counts(kQwen3_Coder_480B_A35B).first, 480'154'875'392);  // "480B in total, 35B activated"
    EXPECT_EQ(counts(kQwen3_Coder_480B_A35B).second / 1'000'000'000, 35);
}

TEST(Qwen3Moe, ATokenUsesEverythingWhenItChoosesAllExperts) {
    ModelConfig config = tiny();
    config.router.top_k = config.router.num_experts;
    EXPECT_EQ(family_of(config).active_parameters(config), num_elements(parameters(config)));
    config.tie_embeddings = true;
    EXPECT_EQ(family_of(config).active_parameters(config), num_elements(parameters(config)));
}

}  // namespace
}  // namespace shardproof
