#include "oracle/model/model.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "oracle/model/error.hpp"

namespace shardproof {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

const std::filesystem::path kGoldens = std::filesystem::path(SHARDPROOF_SOURCE_DIR) / "oracle/golden";

class Goldens : public testing::TestWithParam<const char*> {};

TEST_P(Goldens, AreOpenedWholeInBothSpellings) {
    const Model model = open_model(kGoldens / GetParam());
    EXPECT_EQ(model.name, (kGoldens / GetParam()).string());
    for (const Parameter& parameter : model.parameters) EXPECT_EQ(dtype_of(model, parameter), model.config.dtype);
}
INSTANTIATE_TEST_SUITE_P(All, Goldens,
                         testing::Values("plain", "tied-dense", "sparse-step", "dynamic", "yarn-published", "yarn-full",
                                         "yarn-attention", "llama3-tied", "demo", "llama4-nested", "llama4-chunks",
                                         "llama4-temperature", "llama4-tied", "llama4-nested-all"),
                         [](const auto& row) {
                             std::string name = row.param;
                             std::replace(name.begin(), name.end(), '-', '_');
                             return name;
                         });

TEST(Goldens, SpeakOfWhatTheyAreThereFor) {
    const auto config = [](const char* name) { return read_config(kGoldens / name / "config.json"); };
    EXPECT_EQ(config("plain").grouped_query().rope.scaling, RopeScaling::none);
    EXPECT_EQ(config("sparse-step").grouped_query().rope.scaling, RopeScaling::linear);
    EXPECT_EQ(config("sparse-step").grouped_query().head_dim, 4);
    EXPECT_EQ(config("dynamic").grouped_query().rope.scaling, RopeScaling::dynamic);
    EXPECT_EQ(config("dynamic").router.num_experts, 18);
    EXPECT_EQ(config("yarn-full").grouped_query().rope.mscale_all_dim, 1.3);
    EXPECT_FALSE(config("yarn-full").grouped_query().rope.truncate);
    EXPECT_EQ(config("llama3-tied").grouped_query().rope.scaling, RopeScaling::llama3);
    EXPECT_TRUE(config("tied-dense").tie_embeddings);
    using enum MlpKind;
    EXPECT_EQ(config("yarn-attention").mlp, (std::vector<MlpKind>{dense, dense, dense, moe}));
}

TEST(Goldens, OfLlama4SayWhatIsLeftAlone) {
    const auto note = [](const char* name) {
        const Model model = open_model(kGoldens / name);
        return vision_note(model.config, model.checkpoint);
    };
    EXPECT_EQ(note("llama4-nested"), "26 vision tensors left alone (vision_model.*, multi_modal_projector.*)");
    EXPECT_EQ(note("llama4-tied"), "");
    EXPECT_EQ(note("plain"), "");
}

ModelConfig tiny() {
    ModelConfig config;
    config.family = "qwen3_moe";
    config.num_layers = 1;
    config.hidden_size = 4;
    config.vocab_size = 5;
    config.dense_intermediate_size = 6;
    config.moe_intermediate_size = 3;
    config.attention =
        GroupedQueryAttention{.num_heads = 2, .num_kv_heads = 1, .head_dim = 2, .qk_norm = true, .rope = {}};
    config.router = {.num_experts = 3, .top_k = 1};
    config.mlp = {MlpKind::moe};
    return config;
}

using Tensors = std::map<std::string, Tensor>;

Tensor filled(const Shape& shape, DType dtype, std::byte value) {
    const auto bytes = static_cast<std::size_t>(num_elements(shape) * bits_of(dtype) / 8);
    return {dtype, shape, std::vector<std::byte>(bytes, value)};
}

Tensors tensors_of(const ModelConfig& config) {
    Tensors tensors;
    for (const Parameter& parameter : family_of(config).parameters(config)) {
        for (const Source& source : parameter.sources) {
            tensors[source.tensor] = filled(source.tensor_shape, DType::BF16, std::byte{1});
        }
    }
    return tensors;
}

Model open(const ModelConfig& config, const Tensors& tensors) {
    std::vector<std::pair<std::string, TensorView>> views;
    for (const auto& [name, tensor] : tensors) views.emplace_back(name, tensor.view());
    return make_model("m", config, Checkpoint::from_sources({own_bytes(to_safetensors(views), "model.safetensors")}));
}

auto refuses(const ModelConfig& config, const std::function<void(Tensors&)>& spoil, const std::string& message) {
    Tensors tensors = tensors_of(config);
    spoil(tensors);
    EXPECT_THAT([&] { (void)open(config, tensors); }, ThrowsMessage<InputError>(HasSubstr(message)));
}

const char* const kUp = "model.layers.0.mlp.experts.2.up_proj.weight";

TEST(Model, TakesExactlyTheTensorsOfItsFamily) {
    const Model model = open(tiny(), tensors_of(tiny()));
    EXPECT_EQ(model.parameters.size(), 15U);
    EXPECT_EQ(dtype_of(model, model.parameters.front()), DType::BF16);
}

TEST(Model, RefusesAParameterOfAnotherDtypeThanTheEmbeddings) {
    refuses(
        tiny(), [](Tensors& t) { t["model.layers.0.mlp.gate.weight"] = filled({3, 4}, DType::F32, std::byte{1}); },
        "m/model.safetensors: model.layers.0.mlp.gate.weight=F32: dtype must be BF16, that of "
        "model.embed_tokens.weight: a model has one dtype");
    // It is the embeddings that decide, however many others differ.
    refuses(
        tiny(), [](Tensors& t) { t["model.embed_tokens.weight"] = filled({5, 4}, DType::F16, std::byte{1}); },
        "=BF16: dtype must be F16, that of model.embed_tokens.weight");
}

TEST(Model, RefusesAMissingTensor) {
    refuses(
        tiny(), [](Tensors& t) { t.erase(kUp); },
        std::string(kUp) + ": tensor missing: layers.0.moe.experts.w3 needs it, of shape [3,4]");
}

TEST(Model, RefusesATensorThatNoParameterNeeds) {
    refuses(
        tiny(), [](Tensors& t) { t["model.layers.0.mlp.gate.e_score_correction_bias"] = filled({3}, DType::F32, {}); },
        "m/model.safetensors: model.layers.0.mlp.gate.e_score_correction_bias=[3]: tensor unexpected");
    refuses(
        tiny(), [](Tensors& t) { t["model.layers.1.input_layernorm.weight"] = filled({4}, DType::BF16, {}); },
        "model.layers.1.input_layernorm.weight=[4]: tensor unexpected");
}

TEST(Model, RefusesAnotherShapeEvenWithAsManyElements) {
    refuses(
        tiny(), [](Tensors& t) { t[kUp].shape = {4, 3}; },
        "m/model.safetensors: " + std::string(kUp) + "=[4,3]: shape must be [3,4] by config.json");
    refuses(tiny(), [](Tensors& t) { t[kUp].shape = {3, 4, 1}; }, "=[3,4,1]: shape must be [3,4]");
}

TEST(Model, RefusesDtypesThatItCannotWiden) {
    refuses(
        tiny(), [](Tensors& t) { t["model.norm.weight"] = filled({4}, DType::F8_E4M3, {}); },
        "model.norm.weight=F8_E4M3: dtype must be BF16, F16 or F32");
    refuses(tiny(), [](Tensors& t) { t["model.norm.weight"] = filled({4}, DType::F64, {}); }, "=F64: dtype must be");
}

TEST(Model, RefusesExpertsOfDifferentDtypes) {
    refuses(
        tiny(), [](Tensors& t) { t[kUp] = filled({3, 4}, DType::F16, {}); },
        std::string(kUp) + "=F16: dtype must be BF16, that of model.embed_tokens.weight: a model has one dtype");
}

TEST(Model, TakesATiedHeadOnlyWhereItEqualsTheEmbeddings) {
    ModelConfig config = tiny();
    config.tie_embeddings = true;
    Tensors tensors = tensors_of(config);
    EXPECT_FALSE(tensors.contains("lm_head.weight"));
    EXPECT_EQ(open(config, tensors).parameters.back().name, "norm.weight");
    const auto head = [](Tensors& t) -> Tensor& { return t["lm_head.weight"] = t["model.embed_tokens.weight"]; };
    head(tensors);
    EXPECT_EQ(open(config, tensors).parameters.back().name, "norm.weight");
    refuses(
        config, [&](Tensors& t) { head(t).bytes.back() = std::byte{2}; },
        "lm_head.weight: must equal model.embed_tokens.weight byte for byte: tie_word_embeddings is true");
    refuses(config, [&](Tensors& t) { head(t).shape = {4, 5}; }, "lm_head.weight=[4,5]: must equal");
    refuses(config, [&](Tensors& t) { head(t).dtype = DType::F16; }, "lm_head.weight=F16: must equal");
    // Untied, it is a parameter like any other.
    refuses(tiny(), [](Tensors& t) { t.erase("lm_head.weight"); }, "lm_head.weight: tensor missing");
}

TEST(Model, NamesTheConfigThatIsMissing) {
    EXPECT_THAT([] { (void)open_model(kGoldens); }, ThrowsMessage<InputError>(HasSubstr("golden/config.json")));
}

}  // namespace
}  // namespace shardproof
