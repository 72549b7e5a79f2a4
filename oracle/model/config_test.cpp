#include "oracle/model/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "oracle/model/altered_config.hpp"
#include "oracle/model/error.hpp"
#include "oracle/model/published_configs.hpp"

namespace shardproof {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

ModelConfig parse(const std::string& text) { return parse_config(text, "m/config.json"); }

TEST(PublishedConfigs, AreReadAsPublished) {
    const ModelConfig small = parse(std::string(kQwen3_30B_A3B));
    EXPECT_EQ(small.family, "qwen3_moe");
    EXPECT_EQ(small.num_layers, 48);
    EXPECT_EQ(small.hidden_size, 2048);
    EXPECT_EQ(small.vocab_size, 151936);
    EXPECT_EQ(small.dense_intermediate_size, 6144);
    EXPECT_EQ(small.moe_intermediate_size, 768);
    EXPECT_EQ(small.rms_norm_eps, 1e-6);
    EXPECT_FALSE(small.tie_embeddings);
    EXPECT_EQ(small.grouped_query().num_heads, 32);
    EXPECT_EQ(small.grouped_query().num_kv_heads, 4);
    EXPECT_EQ(small.grouped_query().head_dim, 128);
    EXPECT_TRUE(small.grouped_query().qk_norm);
    EXPECT_EQ(small.grouped_query().rope, (RopeSpec{.theta = 1e6, .max_position_embeddings = 40960}));
    EXPECT_EQ(small.router, (RouterSpec{.num_experts = 128, .top_k = 8, .norm_topk = true}));
    EXPECT_EQ(small.mlp, std::vector<MlpKind>(48, MlpKind::moe));
    EXPECT_EQ(small.dtype, DType::BF16);
    EXPECT_EQ(parse(std::string(kQwen3_30B_A3B_Instruct_2507)).grouped_query().rope.theta, 1e7);
    const ModelConfig large = parse(std::string(kQwen3_235B_A22B));
    EXPECT_EQ(large.num_layers, 94);
    EXPECT_EQ(large.grouped_query().num_heads, 64);
    const ModelConfig coder = parse(std::string(kQwen3_Coder_480B_A35B));
    EXPECT_EQ(coder.router.num_experts, 160);
    EXPECT_EQ(coder.grouped_query().num_kv_heads, 8);
}

// What transformers 5.23 writes of the same model (Qwen3MoeConfig.to_dict()).
json transformers5() {
    json document =
        json::parse(altered_config(json::object(), {"num_experts", "torch_dtype", "rope_theta", "rope_scaling"}));
    document.update(json::parse(R"({"num_local_experts": 128, "dtype": "bfloat16", "transformers_version": "5.23.0",
        "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"}, "output_hidden_states": false,
        "return_dict": true, "chunk_size_feed_forward": 0, "is_encoder_decoder": false, "pad_token_id": null,
        "id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}, "problem_type": null,
        "_name_or_path": "", "output_attentions": false})"));
    return document;
}

TEST(Config, BothSpellingsGiveTheSameModel) {
    EXPECT_EQ(parse(transformers5().dump()), parse(std::string(kQwen3_30B_A3B)));
}

TEST(Config, SpellingsThatAgreeMayStandSideBySide) {
    const json both = {{"num_local_experts", 128},
                       {"dtype", "bfloat16"},
                       {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 1e6}}}};
    EXPECT_EQ(parse_altered(both), parse(std::string(kQwen3_30B_A3B)));
}

TEST(Config, TakesTransformersDefaultsWhereConfigsMayBeSilent) {
    const ModelConfig config = parse_altered({{"hidden_size", 4096}},
                                             {"head_dim", "mlp_only_layers", "decoder_sparse_step", "rope_scaling",
                                              "tie_word_embeddings", "torch_dtype", "attention_bias", "architectures"});
    EXPECT_EQ(config.grouped_query().head_dim, 128);
    EXPECT_EQ(config.mlp, std::vector<MlpKind>(48, MlpKind::moe));
    EXPECT_FALSE(config.tie_embeddings);
    EXPECT_EQ(config.dtype, std::nullopt);
}

TEST(Config, DenseLayersAreThoseOfTheStepAndTheList) {
    const ModelConfig config =
        parse_altered({{"num_hidden_layers", 6}, {"decoder_sparse_step", 2}, {"mlp_only_layers", {0, 3, 3}}});
    using enum MlpKind;
    EXPECT_EQ(config.mlp, (std::vector<MlpKind>{dense, moe, dense, dense, dense, moe}));
    EXPECT_EQ(parse_altered({{"num_hidden_layers", 2}, {"decoder_sparse_step", 3}}).mlp, (std::vector{dense, dense}));
}

TEST(Config, FirstLayersKeepTheRest) {
    const ModelConfig config = parse_altered({{"mlp_only_layers", {1}}});
    const ModelConfig cut = first_layers(config, 2);
    EXPECT_EQ(cut.num_layers, 2);
    EXPECT_EQ(cut.mlp, (std::vector<MlpKind>{MlpKind::moe, MlpKind::dense}));
    EXPECT_EQ(cut.attention, config.attention);
    EXPECT_THAT([&] { (void)first_layers(config, 49); },
                ThrowsMessage<InputError>(HasSubstr("--layers=49: must be a whole number from 1 to 48")));
    EXPECT_THROW((void)first_layers(config, 0), InputError);
}

TEST(Config, RejectsWhatIsNoMapOfDistinctFields) {
    const auto message = [](const std::string& text) -> std::string {
        try {
            (void)parse(text);
        } catch (const InputError& error) {
            return error.what();
        }
        return "accepted";
    };
    EXPECT_THAT(message("[]"), HasSubstr("m/config.json: []: must be a map of fields"));
    EXPECT_THAT(message("{"), HasSubstr("must be JSON"));
    EXPECT_THAT(message(""), HasSubstr("must be JSON"));
    EXPECT_THAT(message(R"({"model_type": "qwen3_moe", "model_type": "qwen3_moe"})"), HasSubstr("must not come twice"));
    std::string twice(kQwen3_30B_A3B);
    twice.replace(twice.find("\"rope_scaling\": null"), 20, R"("rope_scaling": {"factor": 1, "factor": 2})");
    EXPECT_THAT(message(twice), AllOf(HasSubstr("factor"), HasSubstr("must not come twice")));
}

TEST(Config, RefusesEveryPrefixOfItself) {
    const std::string whole(kQwen3_30B_A3B);
    for (std::size_t length = 0; length < whole.size(); ++length) {
        EXPECT_THROW((void)parse(whole.substr(0, length)), InputError) << length;
    }
}

TEST(Config, OddValuesAreReadOrRefusedButNeverABug) {
    const json odd = json::parse(R"([null, true, false, "", "x", [], [[]], [-1], {}, {"": {}}, {"rope_type": []},
        {"rope_type": "yarn", "factor": 1e308, "beta_fast": 1e-300}, -1, -0, 0, 1, 2, 3, 1.5, -1e308, 1e308,
        9223372036854775807, 9223372036854775808, 18446744073709551615, 1e-320])");
    json document = transformers5();
    document.update(json::parse(kQwen3_30B_A3B));
    std::size_t refused = 0;
    for (const auto& [key, value] : document.items()) {
        for (const json& other : odd) {
            json changed = document;
            changed[key] = other;
            try {
                (void)parse(changed.dump());
            } catch (const InputError&) {
                ++refused;
            }
        }
    }
    EXPECT_GT(refused, document.size());
}

TEST(Config, AcceptsHarmlessFieldsAtAnyValue) {
    const json harmless = {{"_name_or_path", "x"},     {"top_k", 50},
                           {"attention_dropout", 0.5}, {"id2label", nullptr},
                           {"is_decoder", false},      {"pruned_heads", json::object()},
                           {"pad_token_id", 3},        {"layer_types", std::vector<std::string>(48, "full_attention")}};
    EXPECT_EQ(parse_altered(harmless), parse(std::string(kQwen3_30B_A3B)));
}

}  // namespace
}  // namespace shardproof
