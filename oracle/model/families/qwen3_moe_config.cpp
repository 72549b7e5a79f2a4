// config.json of Qwen3-MoE (Qwen3-30B-A3B, Qwen3-235B-A22B, Qwen3-Coder), as published and as transformers 5 writes it.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "oracle/model/config_fields.hpp"
#include "oracle/model/config_rope.hpp"
#include "oracle/model/families/config_parts.hpp"
#include "oracle/model/families/families.hpp"

namespace shardproof::qwen3_moe {
namespace {

// transformers reads the window's size only where the switch is on; mistyped words are refused all the same.
void accept_no_window(ConfigFields& fields) {
    if (fields.flag_or("use_sliding_window", false)) {
        fields.refuse("use_sliding_window", "is not supported: it changes the maths; only false does not");
    }
    const auto integer = [&](std::string_view key, bool takes_null) {
        const nlohmann::json* value = fields.find(key);
        if (value == nullptr || value->is_number_integer() || (takes_null && value->is_null())) return;
        fields.refuse(key, takes_null ? "must be null or a whole number" : "must be a whole number");
    };
    integer("sliding_window", true);
    integer("max_window_layers", false);
}

// Fields that would change the maths, at the values where they do not.
void accept_neutral_fields(ConfigFields& fields, const ModelConfig& config) {
    fields.accept_only("hidden_act", {"\"silu\""});
    fields.accept_only("attention_bias", {"false"});
    fields.accept_only("qkv_bias", {"false"});
    fields.accept_only("use_qk_norm", {"true"});
    fields.accept_only("shared_expert_intermediate_size", {"0", "null"});
    accept_no_window(fields);
    fields.accept({"output_router_logits", "router_aux_loss_coef"});
    fields.accept_only("dual_chunk_attention_config", {"null"});
    if (const nlohmann::json* types = fields.find_set("layer_types"); types != nullptr) {
        const bool fits = types->is_array() && types->size() == static_cast<std::size_t>(config.num_layers) &&
                          std::all_of(types->begin(), types->end(),
                                      [](const nlohmann::json& type) { return type == "full_attention"; });
        if (!fits) fields.refuse("layer_types", "must be \"full_attention\" for every layer");
    }
}

std::vector<MlpKind> parse_mlp_kinds(ConfigFields& fields, std::int64_t num_layers) {
    const bool has_step = fields.find("decoder_sparse_step") != nullptr;
    const std::int64_t step = has_step ? fields.integer("decoder_sparse_step") : 1;
    std::vector<MlpKind> kinds(static_cast<std::size_t>(num_layers));
    for (std::int64_t layer = 0; layer < num_layers; ++layer) {
        kinds[static_cast<std::size_t>(layer)] = (layer + 1) % step == 0 ? MlpKind::moe : MlpKind::dense;
    }
    const std::optional<std::vector<bool>> dense = parse_layers(fields, "mlp_only_layers", num_layers);
    for (std::size_t layer = 0; dense && layer < kinds.size(); ++layer) {
        if ((*dense)[layer]) kinds[layer] = MlpKind::dense;
    }
    return kinds;
}

GroupedQueryAttention parse_attention(ConfigFields& fields, std::int64_t hidden_size) {
    GroupedQueryAttention attention;
    attention.qk_norm = true;
    const Heads heads = parse_num_heads(fields);
    attention.num_heads = heads.num_heads;
    attention.num_kv_heads = heads.num_kv_heads;
    const nlohmann::json* head_dim = fields.find("head_dim");
    if (head_dim != nullptr && head_dim->is_null()) {
        // transformers 5.23 takes the config and cannot build the model: the attention raises head_dim to a power.
        fields.refuse("head_dim", fmt::format("must be a whole number from 1 to {}, or be left out", kSizeMax));
    }
    if (head_dim != nullptr) {
        attention.head_dim = parse_head_dim(fields);
    } else {
        attention.head_dim = hidden_size / attention.num_heads;
        if (hidden_size % attention.num_heads != 0 || attention.head_dim % 2 != 0) {
            fields.refuse("head_dim",
                          fmt::format("is missing, and hidden_size={} over num_attention_heads={} is not an "
                                      "even whole number",
                                      hidden_size, attention.num_heads));
        }
    }
    attention.rope = parse_rope(fields, attention.head_dim, fields.integer("max_position_embeddings"));
    return attention;
}

RouterSpec parse_router(ConfigFields& fields, std::int64_t num_layers) {
    RouterSpec router;
    const std::string_view experts = fields.spelling_of("num_experts", "num_local_experts");
    router.num_experts = parse_num_experts(fields, experts, num_layers);
    router.top_k = parse_top_k(fields, experts, router.num_experts);
    router.norm_topk = fields.flag("norm_topk_prob");
    return router;
}

}  // namespace

ModelConfig parse(std::string_view json_text, const std::string& file) {
    const nlohmann::json document = parse_json_map(json_text, file);
    ConfigFields fields(document, file);
    fields.accept({"model_type"});
    check_architecture(fields, kQwen3Moe.architecture);
    ModelConfig config;
    config.family = kQwen3Moe.model_type;
    config.num_layers = fields.integer("num_hidden_layers", {.min = 1, .max = kLayersMax});
    config.hidden_size = fields.integer("hidden_size");
    config.vocab_size = fields.integer("vocab_size");
    config.dense_intermediate_size = fields.integer("intermediate_size");
    config.moe_intermediate_size = fields.integer("moe_intermediate_size");
    config.rms_norm_eps = fields.number_above("rms_norm_eps", 0.0);
    config.tie_embeddings = fields.flag_or("tie_word_embeddings", false);
    config.attention = parse_attention(fields, config.hidden_size);
    config.router = parse_router(fields, config.num_layers);
    config.mlp = parse_mlp_kinds(fields, config.num_layers);
    config.dtype = parse_dtype(fields);
    accept_neutral_fields(fields, config);
    accept_generic_fields(fields);
    fields.refuse_others("is not a known field of qwen3_moe and may change the maths");
    check_size(fields, config);
    return config;
}

}  // namespace shardproof::qwen3_moe
