#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "oracle/model/config.hpp"
#include "oracle/model/error.hpp"
#include "oracle/model/published_configs.hpp"

namespace shardproof {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

ModelConfig parse(const json& document) { return parse_config(document.dump(), "m/config.json"); }
json scout() { return json::parse(kLlama4_Scout); }
const Llama4Attention& attention_of(const ModelConfig& config) { return std::get<Llama4Attention>(config.attention); }

// Scout's text model alone, with fields of its config changed (null is JSON's null) or removed.
json text_alone(const json& changes = json::object(), const std::vector<std::string>& removed = {}) {
    json document = scout()["text_config"];
    document["architectures"] = {"Llama4ForCausalLM"};
    for (const auto& [key, value] : changes.items()) document[key] = value;
    for (const std::string& key : removed) document.erase(key);
    return document;
}

// The same nested.
json nested(const json& changes, const std::vector<std::string>& removed = {}) {
    json document = scout();
    for (const auto& [key, value] : changes.items()) document[key] = value;
    for (const std::string& key : removed) document.erase(key);
    return document;
}

TEST(Llama4Config, ReadsWhatIsPublished) {
    const ModelConfig config = parse(scout());
    EXPECT_EQ(config.family, "llama4");
    EXPECT_EQ(config.num_layers, 48);
    EXPECT_EQ(config.hidden_size, 5120);
    EXPECT_EQ(config.vocab_size, 202048);
    EXPECT_EQ(config.dense_intermediate_size, 16384);
    EXPECT_EQ(config.moe_intermediate_size, 8192);
    EXPECT_EQ(config.shared_intermediate_size, 8192);
    EXPECT_EQ(config.rms_norm_eps, 1e-5);
    EXPECT_FALSE(config.tie_embeddings);
    EXPECT_EQ(config.dtype, DType::BF16);
    EXPECT_EQ(config.router, (RouterSpec{.num_experts = 16,
                                         .top_k = 1,
                                         .score = ScoreFunction::sigmoid,
                                         .score_on = ScoreOn::input,
                                         .choose_by = ChooseBy::logits}));
    EXPECT_EQ(config.mlp, std::vector<MlpKind>(48, MlpKind::moe));
    const Llama4Attention& attention = attention_of(config);
    EXPECT_EQ(attention.num_heads, 40);
    EXPECT_EQ(attention.num_kv_heads, 8);
    EXPECT_EQ(attention.head_dim, 128);
    EXPECT_EQ(attention.rope, (RopeSpec{.theta = 500000.0,
                                        .scaling = RopeScaling::llama3,
                                        .factor = 8.0,
                                        .max_position_embeddings = 262144,
                                        .original_max_position_embeddings = 8192,
                                        .pairs = RopePairs::neighbours}));
    EXPECT_TRUE(attention.qk_norm);
    EXPECT_EQ(attention.chunk_size, 8192);
    EXPECT_EQ(attention.temperature, (QueryTemperature{.floor_scale = 8192, .attn_scale = 0.1}));
    for (std::int64_t layer = 0; layer < 48; ++layer) {
        EXPECT_EQ(attention.has_rope(layer), (layer + 1) % 4 != 0) << layer;
        EXPECT_EQ(attention.is_chunked(layer), attention.has_rope(layer)) << layer;
    }
}

TEST(Llama4Config, LeavesToDefaultsWhatMaverickDoesNotSay) {
    const ModelConfig config = parse(json::parse(kLlama4_Maverick));
    EXPECT_EQ(config.router.num_experts, 128);
    for (std::int64_t layer = 0; layer < 48; ++layer) {
        EXPECT_EQ(config.is_moe(layer), layer % 2 == 1) << layer;
        EXPECT_EQ(attention_of(config).has_rope(layer), (layer + 1) % 4 != 0) << layer;
    }
    EXPECT_FALSE(attention_of(config).qk_norm);
    EXPECT_EQ(attention_of(config).rope.scaling, RopeScaling::none);
    EXPECT_EQ(attention_of(config).temperature, (QueryTemperature{.floor_scale = 8192, .attn_scale = 0.1}));
}

TEST(Llama4Config, IsTheSameModelAloneAndNested) {
    ModelConfig alone = parse(text_alone());
    EXPECT_EQ(alone.family, "llama4_text");
    alone.family = "llama4";
    EXPECT_EQ(alone, parse(scout()));
}

TEST(Llama4Config, SwitchesCanBeTurned) {
    const auto attention = [](const json& changes, const std::vector<std::string>& removed = {}) {
        return attention_of(parse(text_alone(changes, removed)));
    };
    EXPECT_EQ(attention({{"attn_temperature_tuning", false}}).temperature, std::nullopt);
    EXPECT_EQ(attention({{"attn_temperature_tuning", 0}}).temperature, std::nullopt);
    EXPECT_TRUE(attention({{"attn_temperature_tuning", true}}).temperature.has_value());
    EXPECT_EQ(attention({}, {"head_dim"}).head_dim, 128);
    const json five = {{"num_hidden_layers", 5}};
    const auto of_five = [&](json changes) {
        changes.update(five);
        return parse(text_alone(changes));
    };
    EXPECT_THAT(attention_of(of_five({{"no_rope_layers", {1, 0, 0, 1, 1, 0, 0}}})).rope_layers,
                ElementsAre(true, false, false, true, true));
    EXPECT_THAT(attention_of(of_five({{"no_rope_layers", nullptr}, {"no_rope_layer_interval", 2}})).rope_layers,
                ElementsAre(true, false, true, false, true));
    const char* const full = "full_attention";
    const char* const chunked = "chunked_attention";
    const ModelConfig typed = of_five({{"layer_types", {full, chunked, full, chunked, full}}});
    EXPECT_THAT(attention_of(typed).chunked_layers, ElementsAre(false, true, false, true, false));
    using enum MlpKind;
    EXPECT_THAT(of_five({{"moe_layers", {0, 3}}}).mlp, ElementsAre(moe, dense, dense, moe, dense));
    EXPECT_THAT(of_five({{"interleave_moe_layer_step", 3}}).mlp, ElementsAre(dense, dense, moe, dense, dense));
}

TEST(Llama4Config, IsCutWithItsLayers) {
    const ModelConfig cut = first_layers(parse(scout()), 4);
    EXPECT_THAT(attention_of(cut).rope_layers, ElementsAre(true, true, true, false));
    EXPECT_THAT(attention_of(cut).chunked_layers, ElementsAre(true, true, true, false));
    EXPECT_EQ(cut.mlp.size(), 4U);
}

struct Rejection {
    const char* name;
    json document;
    const char* message;
};
void PrintTo(const Rejection& rejection, std::ostream* out) { *out << rejection.name; }
class Llama4Rejections : public testing::TestWithParam<Rejection> {};

TEST_P(Llama4Rejections, NameFileFieldValueAndRule) {
    EXPECT_THAT([] { (void)parse(GetParam().document); },
                ThrowsMessage<InputError>(AllOf(HasSubstr("m/config.json: "), HasSubstr(GetParam().message))));
}

INSTANTIATE_TEST_SUITE_P(
    All, Llama4Rejections,
    testing::Values(
        Rejection{"UnknownTextField", text_alone({{"sliding_window", 4}}),
                  "sliding_window=4: is not a known field of llama4_text"},
        Rejection{"UnknownOuterField", nested({{"adapter", 1}}), "adapter=1: is not a known field of llama4 and"},
        Rejection{"NoTextConfig", nested({}, {"text_config"}), "text_config: must be a map"},
        Rejection{"NestedFieldIsNamedByItsPath",
                  nested({{"text_config", text_alone({{"vocab_size", 0}}, {"architectures"})}}),
                  "text_config.vocab_size=0: must be a whole number"},
        Rejection{"NestedRopeIsNamedByItsPath",
                  nested({{"text_config", text_alone({{"rope_scaling", {{"rope_type", "ntk"}}}}, {"architectures"})}}),
                  "text_config.rope_scaling.rope_type=\"ntk\": must be a known rope type"},
        Rejection{"OtherTextModel", nested({{"text_config", text_alone({{"model_type", "llama"}}, {"architectures"})}}),
                  "text_config.model_type=\"llama\": is not supported"},
        Rejection{"Architecture", nested({{"architectures", {"Llama4ForCausalLM"}}}),
                  "must be [\"Llama4ForConditionalGeneration\"]"},
        Rejection{"TiedOutsideOnly", nested({{"tie_word_embeddings", true}}),
                  "tie_word_embeddings=true: must not contradict"},
        Rejection{"Quantised", nested({{"quantization_config", {{"quant_method", "fp8"}}}}), "quantization_config"},
        Rejection{"OddHeadDim", text_alone({{"head_dim", 127}}), "head_dim=127: must be even"},
        Rejection{"NoChunkSize", text_alone({{"attention_chunk_size", nullptr}}),
                  "attention_chunk_size=null: must be a whole number"},
        Rejection{"ZeroChunkSize", text_alone({{"attention_chunk_size", 0}}),
                  "attention_chunk_size=0: must be a whole number from 1"},
        Rejection{"ZeroFloorScale", text_alone({{"floor_scale", 0}}), "floor_scale=0: must be a whole number from 1"},
        Rejection{"NegativeAttnScale", text_alone({{"attn_scale", -0.1}}),
                  "attn_scale=-0.1: must be a number, at least 0"},
        Rejection{"TemperatureWord", text_alone({{"attn_temperature_tuning", "on"}}),
                  "attn_temperature_tuning=\"on\": must be true, false or"},
        Rejection{"TooFewRopeLayers", text_alone({{"no_rope_layers", {1, 0}}}),
                  "no_rope_layers=[1,0]: must be a list of 0 and 1"},
        Rejection{"RopeLayerTwo", text_alone({{"no_rope_layers", std::vector<int>(48, 2)}}),
                  "must be a list of 0 and 1"},
        Rejection{"ZeroInterval", text_alone({{"no_rope_layer_interval", 0}}), "no_rope_layer_interval=0: must be"},
        Rejection{"ZeroStep", text_alone({{"interleave_moe_layer_step", 0}}), "interleave_moe_layer_step=0: must be"},
        Rejection{"MoeLayerOutside", text_alone({{"moe_layers", {48}}}),
                  "moe_layers=[48]: must be a list of layers, whole numbers from 0 to 47"},
        Rejection{"LayerTypesTooFew", text_alone({{"layer_types", {"full_attention"}}}),
                  "must be \"chunked_attention\" or"},
        Rejection{"SlidingLayer", text_alone({{"layer_types", std::vector<std::string>(48, "sliding_attention")}}),
                  "must be \"chunked_attention\" or"},
        Rejection{"TopKAboveExperts", text_alone({{"num_experts_per_tok", 17}}),
                  "num_experts_per_tok=17: must not exceed num_local_experts=16"},
        Rejection{"ExpertsApart", text_alone({{"for_llm_compressor", true}}),
                  "for_llm_compressor=true: is not supported"},
        Rejection{"AttentionBias", text_alone({{"attention_bias", true}}), "attention_bias=true: is not supported"},
        Rejection{"NoDenseWidth", text_alone({}, {"intermediate_size_mlp"}), "intermediate_size_mlp: is missing"}),
    [](const auto& row) { return std::string{row.param.name}; });

}  // namespace
}  // namespace shardproof
