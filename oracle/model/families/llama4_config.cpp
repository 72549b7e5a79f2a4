// config.json of Llama 4 (Scout, Maverick): the multimodal one, whose text model is under text_config, and that of the
// text model alone; as published and as transformers 5 writes them.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "oracle/model/config_fields.hpp"
#include "oracle/model/config_rope.hpp"
#include "oracle/model/families/config_parts.hpp"
#include "oracle/model/families/families.hpp"

namespace shardproof::llama4 {
namespace {

// transformers' values of what a config may leave out.
constexpr std::int64_t kHeadDim = 128;
constexpr std::int64_t kChunkSize = 8192;
constexpr std::int64_t kNoRopeInterval = 4;
constexpr QueryTemperature kTemperature{.floor_scale = 8192, .attn_scale = 0.1};

std::int64_t integer_or(ConfigFields& fields, std::string_view key, std::int64_t otherwise) {
    return fields.find(key) == nullptr ? otherwise : fields.integer(key);
}

std::vector<MlpKind> parse_mlp_kinds(ConfigFields& fields, std::int64_t num_layers) {
    const std::int64_t step = integer_or(fields, "interleave_moe_layer_step", 1);
    const std::optional<std::vector<bool>> listed = parse_layers(fields, "moe_layers", num_layers);
    std::vector<MlpKind> kinds(static_cast<std::size_t>(num_layers));
    for (std::size_t layer = 0; layer < kinds.size(); ++layer) {
        const bool every_step = (static_cast<std::int64_t>(layer) + 1) % step == 0;
        kinds[layer] = (listed ? (*listed)[layer] : every_step) ? MlpKind::moe : MlpKind::dense;
    }
    return kinds;
}

// A 1 is a layer *with* RoPE, whatever the field is called; an empty list counts as none.
std::vector<bool> parse_rope_layers(ConfigFields& fields, std::int64_t num_layers) {
    const std::int64_t interval = integer_or(fields, "no_rope_layer_interval", kNoRopeInterval);
    std::vector<bool> layers(static_cast<std::size_t>(num_layers));
    for (std::size_t layer = 0; layer < layers.size(); ++layer)
        layers[layer] = (static_cast<std::int64_t>(layer) + 1) % interval != 0;
    const nlohmann::json* list = fields.find_set("no_rope_layers");
    if (list == nullptr || (list->is_array() && list->empty())) return layers;
    const bool fits =
        list->is_array() && list->size() >= layers.size() &&
        std::all_of(list->begin(), list->end(), [](const nlohmann::json& entry) { return entry == 0 || entry == 1; });
    if (!fits)
        fields.refuse("no_rope_layers", fmt::format("must be a list of 0 and 1, one of each of {} layers", num_layers));
    for (std::size_t layer = 0; layer < layers.size(); ++layer) layers[layer] = (*list)[layer] == 1;
    return layers;
}

std::vector<bool> parse_chunked_layers(ConfigFields& fields, const std::vector<bool>& rope_layers) {
    const nlohmann::json* types = fields.find_set("layer_types");
    if (types == nullptr) return rope_layers;
    const auto is_known = [](const nlohmann::json& type) {
        return type == "chunked_attention" || type == "full_attention";
    };
    const bool fits =
        types->is_array() && types->size() == rope_layers.size() && std::all_of(types->begin(), types->end(), is_known);
    if (!fits) fields.refuse("layer_types", "must be \"chunked_attention\" or \"full_attention\" for every layer");
    std::vector<bool> layers;
    for (const nlohmann::json& type : *types) layers.push_back(type == "chunked_attention");
    return layers;
}

// Published configs have a number for the switch, which transformers takes as true.
std::optional<QueryTemperature> parse_temperature(ConfigFields& fields) {
    QueryTemperature temperature = kTemperature;
    temperature.floor_scale = integer_or(fields, "floor_scale", temperature.floor_scale);
    if (fields.find("attn_scale") != nullptr) temperature.attn_scale = fields.number_at_least("attn_scale", 0.0);
    const nlohmann::json* on = fields.find("attn_temperature_tuning");
    if (on == nullptr) return temperature;
    const bool is_switch = on->is_boolean() || on->is_number_unsigned();
    if (!is_switch) fields.refuse("attn_temperature_tuning", "must be true, false or a whole number, where 0 is false");
    const bool is_on = on->is_boolean() ? on->get<bool>() : on->get<std::uint64_t>() != 0;
    return is_on ? std::optional{temperature} : std::nullopt;
}

Llama4Attention parse_attention(ConfigFields& fields, std::int64_t num_layers) {
    const Heads heads = parse_num_heads(fields);
    Llama4Attention attention;
    attention.num_heads = heads.num_heads;
    attention.num_kv_heads = heads.num_kv_heads;
    attention.head_dim = fields.find("head_dim") == nullptr ? kHeadDim : parse_head_dim(fields);
    attention.rope = parse_rope(fields, attention.head_dim, fields.integer("max_position_embeddings"));
    attention.rope.pairs = RopePairs::neighbours;
    attention.qk_norm = fields.flag_or("use_qk_norm", true);
    attention.chunk_size = integer_or(fields, "attention_chunk_size", kChunkSize);
    attention.temperature = parse_temperature(fields);
    attention.rope_layers = parse_rope_layers(fields, num_layers);
    attention.chunked_layers = parse_chunked_layers(fields, attention.rope_layers);
    return attention;
}

RouterSpec parse_router(ConfigFields& fields, std::int64_t num_layers) {
    RouterSpec router;
    router.num_experts = parse_num_experts(fields, "num_local_experts", num_layers);
    router.top_k = parse_top_k(fields, "num_local_experts", router.num_experts);
    router.score = ScoreFunction::sigmoid;
    router.score_on = ScoreOn::input;
    router.choose_by = ChooseBy::logits;
    return router;
}

// Fields of the text model that would change the maths, at the values where they do not, and those of training alone.
void accept_neutral_fields(ConfigFields& fields) {
    fields.accept_only("hidden_act", {"\"silu\""});
    fields.accept_only("attention_bias", {"false"});
    fields.accept_only("for_llm_compressor", {"false"});  // would store every expert apart
    fields.accept({"output_router_logits", "router_aux_loss_coef", "router_jitter_noise", "cache_implementation"});
}

ModelConfig parse_text_fields(ConfigFields& fields) {
    ModelConfig config;
    config.family = kLlama4Text.model_type;
    config.num_layers = fields.integer("num_hidden_layers", {.min = 1, .max = kLayersMax});
    config.hidden_size = fields.integer("hidden_size");
    config.vocab_size = fields.integer("vocab_size");
    config.dense_intermediate_size = fields.integer("intermediate_size_mlp");
    config.moe_intermediate_size = fields.integer("intermediate_size");
    config.shared_intermediate_size = config.moe_intermediate_size;
    config.rms_norm_eps = fields.number_above("rms_norm_eps", 0.0);
    config.tie_embeddings = fields.flag_or("tie_word_embeddings", false);
    config.attention = parse_attention(fields, config.num_layers);
    config.router = parse_router(fields, config.num_layers);
    config.mlp = parse_mlp_kinds(fields, config.num_layers);
    config.dtype = parse_dtype(fields);
    accept_neutral_fields(fields);
    accept_generic_fields(fields);
    fields.refuse_others("is not a known field of llama4_text and may change the maths");
    check_size(fields, config);
    return config;
}

}  // namespace

ModelConfig parse_text(std::string_view json_text, const std::string& file) {
    const nlohmann::json document = parse_json_map(json_text, file);
    ConfigFields fields(document, file);
    fields.accept({"model_type"});
    check_architecture(fields, kLlama4Text.architecture);
    return parse_text_fields(fields);
}

ModelConfig parse(std::string_view json_text, const std::string& file) {
    const nlohmann::json document = parse_json_map(json_text, file);
    ConfigFields fields(document, file);
    fields.accept({"model_type"});
    check_architecture(fields, kLlama4.architecture);
    const nlohmann::json* map = fields.find("text_config");
    if (map == nullptr || !map->is_object()) fields.refuse("text_config", "must be a map: the text model's config");
    ConfigFields text(*map, file, "text_config");
    text.accept_only("model_type", {"\"llama4_text\""});
    text.accept({"architectures"});
    ModelConfig config = parse_text_fields(text);
    config.family = kLlama4.model_type;
    if (fields.flag_or("tie_word_embeddings", false) && !config.tie_embeddings)
        fields.refuse("tie_word_embeddings", "must not contradict text_config.tie_word_embeddings=false");
    const std::optional<DType> outer_dtype = parse_dtype(fields);
    if (!config.dtype) config.dtype = outer_dtype;
    // Of the vision model, which is left alone, and of how images enter the text.
    fields.accept({"vision_config", "boi_token_index", "eoi_token_index", "image_token_index", "boi_token_id",
                   "eoi_token_id", "image_token_id"});
    accept_generic_fields(fields);
    fields.refuse_others("is not a known field of llama4 and may change the maths");
    return config;
}

}  // namespace shardproof::llama4
