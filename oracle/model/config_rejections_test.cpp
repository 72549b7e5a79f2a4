// What a config.json may not say, and what the message then says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "oracle/model/altered_config.hpp"
#include "oracle/model/error.hpp"

namespace shardproof {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

struct Rejection {
    const char* name;
    json changes;
    std::vector<std::string> removed;
    std::string message;
};
void PrintTo(const Rejection& rejection, std::ostream* out) { *out << rejection.name; }

class Rejections : public testing::TestWithParam<Rejection> {};

TEST_P(Rejections, NameFileFieldValueAndRule) {
    const Rejection& r = GetParam();
    EXPECT_THAT([&] { (void)parse_altered(r.changes, r.removed); },
                ThrowsMessage<InputError>(AllOf(HasSubstr("m/config.json: "), HasSubstr(r.message))));
}

const char* const kUnknown = "is not a known field of qwen3_moe and may change the maths";

std::vector<Rejection> rejections() {
    std::vector<Rejection> all{
        {"UnknownFamily",
         {{"model_type", "mixtral"}},
         {},
         "model_type=\"mixtral\": must name a known family: qwen3_moe, llama4, llama4_text"},
        {"NoFamily", {}, {"model_type"}, "model_type: is missing: must name a known family"},
        {"FamilyOfWrongType", {{"model_type", 3}}, {}, "model_type=3: must name a known family"},
        {"OtherArchitecture",
         {{"architectures", {"Qwen3MoeForSequenceClassification"}}},
         {},
         "architectures=[\"Qwen3MoeForS"},
        {"Float", {{"num_experts", 128.0}}, {}, "num_experts=128.0: must be a whole number from 1 to 65536"},
        {"Bool", {{"num_experts_per_tok", true}}, {}, "num_experts_per_tok=true: must be a whole number"},
        {"String", {{"hidden_size", "2048"}}, {}, "hidden_size=\"2048\": must be a whole number"},
        {"Null",
         {{"head_dim", nullptr}},
         {},
         "head_dim=null: must be a whole number from 1 to 2147483647, or be left out"},
        {"Negative", {{"vocab_size", -1}}, {}, "vocab_size=-1: must be a whole number from 1 to 2147483647"},
        {"Zero", {{"moe_intermediate_size", 0}}, {}, "moe_intermediate_size=0: must be a whole number from 1"},
        {"Above64Bits",
         {{"vocab_size", 18446744073709551615ULL}},
         {},
         "vocab_size=18446744073709551615: must be a whole"},
        {"TooManyLayers",
         {{"num_hidden_layers", 65537}},
         {},
         "num_hidden_layers=65537: must be a whole number from 1 to 65536"},
        {"TooManyExperts",
         {{"num_hidden_layers", 60000}, {"num_experts", 60000}},
         {},
         "num_experts=60000: times num_hidden"},
        {"TooManyParameters",
         {{"hidden_size", 2147483646}, {"vocab_size", 2147483647}},
         {},
         "the sizes together make about"},
        {"TopKAboveExperts",
         {{"num_experts_per_tok", 129}},
         {},
         "num_experts_per_tok=129: must not exceed num_experts=128"},
        {"KvHeadsDoNotDivide",
         {{"num_key_value_heads", 5}},
         {},
         "num_key_value_heads=5: must divide num_attention_heads=32"},
        {"OddHeadDim", {{"head_dim", 127}}, {}, "head_dim=127: must be even"},
        {"HeadDimNotWhole",
         {{"hidden_size", 2050}},
         {"head_dim"},
         "head_dim: is missing, and hidden_size=2050 over num_attention_heads=32"},
        {"ZeroSparseStep", {{"decoder_sparse_step", 0}}, {}, "decoder_sparse_step=0: must be a whole number"},
        {"DenseLayerOutside",
         {{"mlp_only_layers", {48}}},
         {},
         "mlp_only_layers=[48]: must be a list of layers, whole numbers from 0 to 47"},
        {"DenseLayersNoList", {{"mlp_only_layers", 1}}, {}, "mlp_only_layers=1: must be a list"},
        {"DenseLayerFloat", {{"mlp_only_layers", {1.0}}}, {}, "mlp_only_layers=[1.0]: must be a list"},
        {"ZeroEps", {{"rms_norm_eps", 0}}, {}, "rms_norm_eps=0: must be a number above 0"},
        {"EpsString", {{"rms_norm_eps", "1e-6"}}, {}, "rms_norm_eps=\"1e-6\": must be a number above 0"},
        {"FlagAsInt", {{"norm_topk_prob", 1}}, {}, "norm_topk_prob=1: must be true or false"},
        {"TiedAsNull", {{"tie_word_embeddings", nullptr}}, {}, "tie_word_embeddings=null: must be true or false"},
        {"OtherActivation", {{"hidden_act", "gelu"}}, {}, "hidden_act=\"gelu\": is not supported"},
        {"AttentionBias", {{"attention_bias", true}}, {}, "attention_bias=true: is not supported"},
        {"QkvBias", {{"qkv_bias", true}}, {}, "qkv_bias=true: is not supported"},
        {"NoQkNorm", {{"use_qk_norm", false}}, {}, "use_qk_norm=false: is not supported"},
        {"SharedExpert",
         {{"shared_expert_intermediate_size", 512}},
         {},
         "shared_expert_intermediate_size=512: is not supported"},
        {"SlidingWindow", {{"use_sliding_window", true}}, {}, "use_sliding_window=true: is not supported"},
        {"SlidingSwitchMistyped",
         {{"use_sliding_window", "false"}},
         {},
         "use_sliding_window=\"false\": must be true or"},
        {"SlidingSwitchNull", {{"use_sliding_window", nullptr}}, {}, "use_sliding_window=null: must be true or false"},
        {"WindowMistyped", {{"sliding_window", "4096"}}, {}, "sliding_window=\"4096\": must be null or a whole number"},
        {"WindowFloat", {{"sliding_window", 4096.0}}, {}, "sliding_window=4096.0: must be null or a whole number"},
        {"WindowBool", {{"sliding_window", false}}, {}, "sliding_window=false: must be null or a whole number"},
        {"WindowLayersMistyped", {{"max_window_layers", "48"}}, {}, "max_window_layers=\"48\": must be a whole number"},
        {"WindowLayersNull", {{"max_window_layers", nullptr}}, {}, "max_window_layers=null: must be a whole number"},
        {"SlidingLayer",
         {{"layer_types", std::vector<std::string>(48, "sliding_attention")}},
         {},
         "must be \"full_attention\" for every layer"},
        {"LayerTypesTooFew", {{"layer_types", {"full_attention"}}}, {}, "layer_types=[\"full_attention\"]: must be"},
        {"Quantised",
         {{"quantization_config", {{"quant_method", "fp8"}}}},
         {},
         "quantization_config={\"quant_method\":\"fp8\"}: is not supported"},
        {"DualChunk", {{"dual_chunk_attention_config", {{"chunk_size", 8192}}}}, {}, "dual_chunk_attention_config={"},
        {"OwnCode", {{"auto_map", {{"AutoModel", "m.M"}}}}, {}, "auto_map={"},
        {"PrunedHeads", {{"pruned_heads", {{"0", {1}}}}}, {}, "pruned_heads={"},
        {"UnknownField", {{"attn_logit_softcapping", 50.0}}, {}, "attn_logit_softcapping=50.0: is not a known field"},
        {"UnknownNullField", {{"n_group", nullptr}}, {}, kUnknown},
        {"UnknownNameEscaped", {{"a\nb", 1}}, {}, "\"a\\nb\"=1: is not a known field"},
        {"Dtype",
         {{"torch_dtype", "float8_e4m3fn"}},
         {},
         "torch_dtype=\"float8_e4m3fn\": must be bfloat16, float16 or float32"},
        {"TwoExpertCounts",
         {{"num_local_experts", 64}},
         {},
         "num_local_experts=64: must not contradict its other spelling, num_experts=128"},
        {"TwoDtypes",
         {{"dtype", "float16"}},
         {},
         "dtype=\"float16\": must not contradict its other spelling, torch_dtype=\"bfloat16\""},
    };
    for (const char* key :
         {"num_hidden_layers", "hidden_size", "vocab_size", "intermediate_size", "moe_intermediate_size",
          "rms_norm_eps", "num_attention_heads", "num_key_value_heads", "max_position_embeddings", "num_experts",
          "num_experts_per_tok", "norm_topk_prob", "rope_theta"}) {
        all.push_back({key, {}, {key}, std::string(key) + ": is missing"});
    }
    return all;
}
INSTANTIATE_TEST_SUITE_P(Config, Rejections, testing::ValuesIn(rejections()),
                         [](const auto& row) { return std::string(row.param.name); });

std::vector<Rejection> rope_rejections() {
    const auto scaling = [](json map) { return json{{"rope_scaling", std::move(map)}}; };
    return {
        {"UnknownType",
         scaling({{"rope_type", "longrope"}, {"factor", 2}}),
         {},
         "rope_scaling.rope_type=\"longrope\": must be a known rope type: default, linear, dynamic, yarn, llama3"},
        {"OldTypeUnknown", scaling({{"type", "su"}}), {}, "rope_scaling.type=\"su\": must be a known rope type"},
        {"TypesDisagree",
         scaling({{"rope_type", "yarn"}, {"type", "linear"}, {"factor", 2}}),
         {},
         "rope_scaling.type=\"linear\": must not contradict"},
        {"NoMap", {{"rope_scaling", 2.0}}, {}, "rope_scaling=2.0: must be null or a map"},
        {"NoFactor",
         scaling({{"rope_type", "linear"}}),
         {},
         "rope_scaling.factor: is missing: must be a number, at least 1"},
        {"FactorBelowOne",
         scaling({{"rope_type", "linear"}, {"factor", 0.5}}),
         {},
         "rope_scaling.factor=0.5: must be a number, at least 1"},
        {"FactorBool",
         scaling({{"rope_type", "linear"}, {"factor", true}}),
         {},
         "rope_scaling.factor=true: must be a number"},
        {"WordOfAnotherType",
         scaling({{"rope_type", "linear"}, {"factor", 2}, {"beta_fast", 32}}),
         {},
         "rope_scaling.beta_fast=32: is not a word of this rope type"},
        {"UnknownWord",
         scaling({{"rope_type", "yarn"}, {"factor", 2}, {"mrope_section", {8, 8}}}),
         {},
         "rope_scaling.mrope_section=[8,8]: is not a word"},
        {"PartialRotary", {{"partial_rotary_factor", 0.5}}, {}, "partial_rotary_factor=0.5: is not supported"},
        {"PartialRotaryInside",
         scaling({{"rope_type", "default"}, {"partial_rotary_factor", 0.5}}),
         {},
         "rope_scaling.partial_rotary_factor=0.5"},
        {"BetasCrossed",
         scaling({{"rope_type", "yarn"}, {"factor", 2}, {"beta_fast", 1}, {"beta_slow", 4}}),
         {},
         "rope_scaling.beta_fast=1: beta_fast must be at least beta_slow"},
        {"NegativeMscale",
         scaling({{"rope_type", "yarn"}, {"factor", 2}, {"mscale", -1}}),
         {},
         "rope_scaling.mscale=-1: must be a number, at least 0"},
        {"ZeroAttentionFactor",
         scaling({{"rope_type", "yarn"}, {"factor", 2}, {"attention_factor", 0}}),
         {},
         "rope_scaling.attention_factor=0: must be a number above 0"},
        {"TruncateNull",
         scaling({{"rope_type", "yarn"}, {"factor", 2}, {"truncate", nullptr}}),
         {},
         "rope_scaling.truncate=null: must be true or false"},
        {"OriginalFloat",
         scaling({{"rope_type", "yarn"}, {"factor", 2}, {"original_max_position_embeddings", 32768.0}}),
         {},
         "rope_scaling.original_max_position_embeddings=32768.0: must be a whole number"},
        {"Llama3FactorsCrossed",
         scaling({{"rope_type", "llama3"}, {"factor", 2}, {"low_freq_factor", 4}, {"high_freq_factor", 3}}),
         {},
         "rope_scaling.high_freq_factor=3: must be a number, at least 4"},
        {"ThetaOne", {{"rope_theta", 1}}, {}, "rope_theta=1: must be a number above 1"},
        {"TwoThetas",
         {{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 5e6}}}},
         {},
         "rope_parameters.rope_theta=5000000.0: must not contradict the rope_theta outside, 1000000"},
        {"NoThetaAnywhere",
         {{"rope_parameters", {{"rope_type", "default"}}}},
         {"rope_theta"},
         "rope_parameters.rope_theta: is missing"},
        {"NestedByLayerType",
         {{"rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}}},
         {},
         "rope_parameters.full_attention={"},
        {"TwoScalings",
         {{"rope_scaling", {{"rope_type", "linear"}, {"factor", 2}}},
          {"rope_parameters", {{"rope_type", "linear"}, {"factor", 3}}}},
         {},
         "rope_parameters={\"factor\":3,\"rope_type\":\"linear\"}: must not contradict"},
        {"DynamicTinyHead",
         {{"head_dim", 2}, {"rope_scaling", {{"type", "dynamic"}, {"factor", 2}}}},
         {},
         "rope_scaling.type=\"dynamic\": dynamic scaling needs a head_dim of at least 4"},
    };
}
INSTANTIATE_TEST_SUITE_P(Rope, Rejections, testing::ValuesIn(rope_rejections()),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace shardproof
