#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <set>

#include "oracle/model/family.hpp"
#include "oracle/model/published_configs.hpp"

namespace shardproof {
namespace {

using testing::ElementsAre;

ModelConfig tiny() {
    ModelConfig config;
    config.family = "llama4";
    config.num_layers = 2;
    config.hidden_size = 12;
    config.vocab_size = 17;
    config.dense_intermediate_size = 10;
    config.moe_intermediate_size = 7;
    config.shared_intermediate_size = 5;
    config.attention = Llama4Attention{.num_heads = 4,
                                       .num_kv_heads = 2,
                                       .head_dim = 8,
                                       .rope = {},
                                       .qk_norm = true,
                                       .rope_layers = {true, false},
                                       .chunked_layers = {true, false}};
    config.router = {.num_experts = 3, .top_k = 1};
    config.mlp = {MlpKind::dense, MlpKind::moe};
    return config;
}

std::vector<Parameter> parameters(const ModelConfig& config) { return family_of(config).parameters(config); }
std::int64_t count(const std::vector<Parameter>& parameters) {
    return std::accumulate(parameters.begin(), parameters.end(), std::int64_t{0},
                           [](std::int64_t sum, const Parameter& p) { return sum + num_elements(p.shape); });
}

TEST(Llama4, ListsTheContractsNamesInModelOrderWithPublishedTensors) {
    std::vector<std::string> rows;
    for (const Parameter& p : parameters(tiny())) {
        ASSERT_EQ(p.sources.size(), 1U) << p.name;
        rows.push_back(p.name + " " + to_string(p.shape) + " <- " + p.sources[0].tensor + " " +
                       to_string(p.sources[0].tensor_shape));
    }
    const std::string l = "language_model.model.layers.";
    EXPECT_THAT(
        rows, ElementsAre("tok_embeddings.weight [17,12] <- language_model.model.embed_tokens.weight [17,12]",
                          "layers.0.attention_norm.weight [12] <- " + l + "0.input_layernorm.weight [12]",
                          "layers.0.attention.wq.weight [32,12] <- " + l + "0.self_attn.q_proj.weight [32,12]",
                          "layers.0.attention.wk.weight [16,12] <- " + l + "0.self_attn.k_proj.weight [16,12]",
                          "layers.0.attention.wv.weight [16,12] <- " + l + "0.self_attn.v_proj.weight [16,12]",
                          "layers.0.attention.wo.weight [12,32] <- " + l + "0.self_attn.o_proj.weight [12,32]",
                          "layers.0.ffn_norm.weight [12] <- " + l + "0.post_attention_layernorm.weight [12]",
                          "layers.0.feed_forward.w1.weight [10,12] <- " + l + "0.feed_forward.gate_proj.weight [10,12]",
                          "layers.0.feed_forward.w2.weight [12,10] <- " + l + "0.feed_forward.down_proj.weight [12,10]",
                          "layers.0.feed_forward.w3.weight [10,12] <- " + l + "0.feed_forward.up_proj.weight [10,12]",
                          "layers.1.attention_norm.weight [12] <- " + l + "1.input_layernorm.weight [12]",
                          "layers.1.attention.wq.weight [32,12] <- " + l + "1.self_attn.q_proj.weight [32,12]",
                          "layers.1.attention.wk.weight [16,12] <- " + l + "1.self_attn.k_proj.weight [16,12]",
                          "layers.1.attention.wv.weight [16,12] <- " + l + "1.self_attn.v_proj.weight [16,12]",
                          "layers.1.attention.wo.weight [12,32] <- " + l + "1.self_attn.o_proj.weight [12,32]",
                          "layers.1.ffn_norm.weight [12] <- " + l + "1.post_attention_layernorm.weight [12]",
                          "layers.1.moe.router.gate.weight [3,12] <- " + l + "1.feed_forward.router.weight [3,12]",
                          "layers.1.moe.experts.w1 [3,7,12] <- " + l + "1.feed_forward.experts.gate_up_proj [3,12,14]",
                          "layers.1.moe.experts.w2 [3,12,7] <- " + l + "1.feed_forward.experts.down_proj [3,7,12]",
                          "layers.1.moe.experts.w3 [3,7,12] <- " + l + "1.feed_forward.experts.gate_up_proj [3,12,14]",
                          "layers.1.moe.shared_experts.w1.weight [5,12] <- " + l +
                              "1.feed_forward.shared_expert.gate_proj.weight [5,12]",
                          "layers.1.moe.shared_experts.w2.weight [12,5] <- " + l +
                              "1.feed_forward.shared_expert.down_proj.weight [12,5]",
                          "layers.1.moe.shared_experts.w3.weight [5,12] <- " + l +
                              "1.feed_forward.shared_expert.up_proj.weight [5,12]",
                          "norm.weight [12] <- language_model.model.norm.weight [12]",
                          "lm_head.weight [17,12] <- language_model.lm_head.weight [17,12]"));
}

TEST(Llama4, OfTextAloneHasNoPrefix) {
    ModelConfig config = tiny();
    config.family = "llama4_text";
    config.tie_embeddings = true;
    EXPECT_EQ(parameters(config).front().sources[0].tensor, "model.embed_tokens.weight");
    EXPECT_EQ(parameters(config).back().sources[0].tensor, "model.norm.weight");
    EXPECT_EQ(family_of(config).tied_head, "lm_head.weight");
    EXPECT_EQ(family_of(tiny()).tied_head, "language_model.lm_head.weight");
}

// Gate and up share a tensor: between them each of its elements is one element of one of them.
TEST(Llama4, SourcesTileTensorsAndParameters) {
    std::map<std::string, std::set<std::vector<std::int64_t>>> taken;
    std::map<std::string, std::int64_t> sizes;
    for (const Parameter& p : parameters(tiny())) {
        const Source& source = p.sources[0];
        sizes[source.tensor] = num_elements(source.tensor_shape);
        for (std::int64_t flat = 0; flat < num_elements(p.shape); ++flat) {
            std::vector<std::int64_t> at(p.shape.size());
            std::int64_t rest = flat;
            for (std::size_t dim = at.size(); dim-- > 0; rest /= p.shape[dim]) at[dim] = rest % p.shape[dim];
            EXPECT_TRUE(taken[source.tensor].insert(tensor_index(source, at)).second) << p.name;
        }
    }
    for (const auto& [tensor, size] : sizes) EXPECT_EQ(std::ssize(taken[tensor]), size) << tensor;
}

TEST(Llama4, CountsParametersAsPublished) {
    const auto counts = [](std::string_view text) {
        const ModelConfig config = parse_config(text, "config.json");
        return std::pair{count(parameters(config)), family_of(config).active_parameters(config)};
    };
    EXPECT_EQ(counts(kLlama4_Scout).first / 1'000'000'000,
              107);  // "109B in total, 17B active", the vision model included
    EXPECT_EQ(counts(kLlama4_Scout).second / 1'000'000'000, 17);
    EXPECT_EQ(counts(kLlama4_Maverick).first / 1'000'000'000, 400);  // "400B in total, 17B active"
    EXPECT_EQ(counts(kLlama4_Maverick).second / 1'000'000'000, 17);
}

TEST(Llama4, ATokenUsesEverythingWhenItChoosesAllExperts) {
    ModelConfig config = tiny();
    config.router.top_k = config.router.num_experts;
    EXPECT_EQ(family_of(config).active_parameters(config), count(parameters(config)));
}

TEST(Llama4, KnowsVisionTensorsByTheirNames) {
    const ModelFamily& family = *family_named("llama4");
    EXPECT_TRUE(is_vision_tensor(family, "vision_model.class_embedding"));
    EXPECT_TRUE(is_vision_tensor(family, "multi_modal_projector.linear_1.weight"));
    EXPECT_FALSE(is_vision_tensor(family, "language_model.model.norm.weight"));
    EXPECT_FALSE(is_vision_tensor(family, "audio_model.weight"));
    EXPECT_FALSE(is_vision_tensor(*family_named("llama4_text"), "vision_model.class_embedding"));
}

}  // namespace
}  // namespace shardproof
