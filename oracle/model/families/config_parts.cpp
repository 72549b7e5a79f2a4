#include "oracle/model/families/config_parts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace shardproof {
namespace {

constexpr std::int64_t kExpertsMax = 65536;
// Of one model: bounds the names that a plan lists.
constexpr std::int64_t kExpertTensorsMax = std::int64_t{1} << 24;
// So that bytes, whatever the dtype, fit std::int64_t.
constexpr double kParametersMax = 288230376151711744.0;  // 2^58

}  // namespace

void check_architecture(ConfigFields& fields, std::string_view architecture) {
    const nlohmann::json* names = fields.find_set("architectures");
    if (names == nullptr) return;
    if (*names != nlohmann::json::array({architecture})) {
        fields.refuse("architectures", fmt::format("must be [\"{}\"]", architecture));
    }
}

Heads parse_num_heads(ConfigFields& fields) {
    Heads heads;
    heads.num_heads = fields.integer("num_attention_heads");
    heads.num_kv_heads = fields.integer("num_key_value_heads");
    if (heads.num_heads % heads.num_kv_heads != 0) {
        fields.refuse("num_key_value_heads", fmt::format("must divide num_attention_heads={}", heads.num_heads));
    }
    return heads;
}

std::int64_t parse_head_dim(ConfigFields& fields) {
    const std::int64_t head_dim = fields.integer("head_dim");
    if (head_dim % 2 != 0) fields.refuse("head_dim", "must be even: rotary embedding turns pairs");
    return head_dim;
}

std::int64_t parse_num_experts(ConfigFields& fields, std::string_view key, std::int64_t num_layers) {
    const std::int64_t num_experts = fields.integer(key, {.min = 1, .max = kExpertsMax});
    if (num_experts * num_layers > kExpertTensorsMax) {
        fields.refuse(key, fmt::format("times num_hidden_layers={} must not exceed {}", num_layers, kExpertTensorsMax));
    }
    return num_experts;
}

std::int64_t parse_top_k(ConfigFields& fields, std::string_view experts, std::int64_t num_experts) {
    const std::int64_t top_k = fields.integer("num_experts_per_tok");
    if (top_k > num_experts) {
        fields.refuse("num_experts_per_tok", fmt::format("must not exceed {}={}", experts, num_experts));
    }
    return top_k;
}

std::optional<std::vector<bool>> parse_layers(ConfigFields& fields, std::string_view key, std::int64_t num_layers) {
    const nlohmann::json* list = fields.find_set(key);
    if (list == nullptr) return std::nullopt;
    const std::string rule = fmt::format("must be a list of layers, whole numbers from 0 to {}", num_layers - 1);
    if (!list->is_array()) fields.refuse(key, rule);
    std::vector<bool> layers(static_cast<std::size_t>(num_layers), false);
    for (const nlohmann::json& layer : *list) {
        const bool fits = layer.is_number_unsigned() && layer.get<std::uint64_t>() < layers.size();
        if (!fits) fields.refuse(key, rule);
        layers[layer.get<std::size_t>()] = true;
    }
    return layers;
}

std::optional<DType> parse_dtype(ConfigFields& fields) {
    const std::string_view key = fields.spelling_of("torch_dtype", "dtype");
    const nlohmann::json* value = fields.find_set(key);
    if (value == nullptr) return std::nullopt;
    if (*value == "bfloat16") return DType::BF16;
    if (*value == "float16") return DType::F16;
    if (*value == "float32") return DType::F32;
    fields.refuse(key, "must be bfloat16, float16 or float32");
}

void check_size(const ConfigFields& fields, const ModelConfig& config) {
    const auto d = [](std::int64_t size) { return static_cast<double>(size); };
    const double hidden = d(config.hidden_size);
    const Heads heads = config.heads();
    const double attention = d(heads.num_heads + heads.num_kv_heads) * d(heads.head_dim);
    const double experts =
        d(config.router.num_experts) * (d(config.moe_intermediate_size) + 1) + d(config.shared_intermediate_size);
    const double layer = hidden * (2 * attention + 3 * (experts + d(config.dense_intermediate_size)));
    const double total = d(config.num_layers) * layer + 2 * d(config.vocab_size) * hidden;
    if (!(total < kParametersMax)) {
        fields.refuse("hidden_size", fmt::format("the sizes together make about {:.1e} parameters, more than {:.1e}",
                                                 total, kParametersMax));
    }
}

}  // namespace shardproof
