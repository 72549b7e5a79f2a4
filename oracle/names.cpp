#include "oracle/names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <span>

#include "oracle/model/error.hpp"

namespace shardproof::oracle {
namespace {

enum class Form : std::uint8_t { plain, first_half_turned, second_half_turned, turned };

struct NameRow {
    std::string_view parameter;  // the contract's word, after "layers.L." where there is one
    std::string_view tensor;     // the checkpoint's
    Form form = Form::plain;
};

constexpr std::string_view kEmbeddings = "tok_embeddings.weight";
constexpr std::string_view kHead = "lm_head.weight";

constexpr std::array kQwen3Moe{
    NameRow{kEmbeddings, "model.embed_tokens.weight"},
    NameRow{"norm.weight", "model.norm.weight"},
    NameRow{kHead, "lm_head.weight"},
    NameRow{"attention_norm.weight", "model.layers.{layer}.input_layernorm.weight"},
    NameRow{"ffn_norm.weight", "model.layers.{layer}.post_attention_layernorm.weight"},
    NameRow{"attention.wq.weight", "model.layers.{layer}.self_attn.q_proj.weight"},
    NameRow{"attention.wk.weight", "model.layers.{layer}.self_attn.k_proj.weight"},
    NameRow{"attention.wv.weight", "model.layers.{layer}.self_attn.v_proj.weight"},
    NameRow{"attention.wo.weight", "model.layers.{layer}.self_attn.o_proj.weight"},
    NameRow{"attention.q_norm.weight", "model.layers.{layer}.self_attn.q_norm.weight"},
    NameRow{"attention.k_norm.weight", "model.layers.{layer}.self_attn.k_norm.weight"},
    NameRow{"feed_forward.w1.weight", "model.layers.{layer}.mlp.gate_proj.weight"},
    NameRow{"feed_forward.w2.weight", "model.layers.{layer}.mlp.down_proj.weight"},
    NameRow{"feed_forward.w3.weight", "model.layers.{layer}.mlp.up_proj.weight"},
    NameRow{"moe.router.gate.weight", "model.layers.{layer}.mlp.gate.weight"},
    NameRow{"moe.experts.w1", "model.layers.{layer}.mlp.experts.{expert}.gate_proj.weight"},
    NameRow{"moe.experts.w2", "model.layers.{layer}.mlp.experts.{expert}.down_proj.weight"},
    NameRow{"moe.experts.w3", "model.layers.{layer}.mlp.experts.{expert}.up_proj.weight"},
};

constexpr std::array kLlama4{
    NameRow{kEmbeddings, "model.embed_tokens.weight"},
    NameRow{"norm.weight", "model.norm.weight"},
    NameRow{kHead, "lm_head.weight"},
    NameRow{"attention_norm.weight", "model.layers.{layer}.input_layernorm.weight"},
    NameRow{"ffn_norm.weight", "model.layers.{layer}.post_attention_layernorm.weight"},
    NameRow{"attention.wq.weight", "model.layers.{layer}.self_attn.q_proj.weight"},
    NameRow{"attention.wk.weight", "model.layers.{layer}.self_attn.k_proj.weight"},
    NameRow{"attention.wv.weight", "model.layers.{layer}.self_attn.v_proj.weight"},
    NameRow{"attention.wo.weight", "model.layers.{layer}.self_attn.o_proj.weight"},
    NameRow{"feed_forward.w1.weight", "model.layers.{layer}.feed_forward.gate_proj.weight"},
    NameRow{"feed_forward.w2.weight", "model.layers.{layer}.feed_forward.down_proj.weight"},
    NameRow{"feed_forward.w3.weight", "model.layers.{layer}.feed_forward.up_proj.weight"},
    NameRow{"moe.router.gate.weight", "model.layers.{layer}.feed_forward.router.weight"},
    NameRow{"moe.experts.w1", "model.layers.{layer}.feed_forward.experts.gate_up_proj", Form::first_half_turned},
    NameRow{"moe.experts.w2", "model.layers.{layer}.feed_forward.experts.down_proj", Form::turned},
    NameRow{"moe.experts.w3", "model.layers.{layer}.feed_forward.experts.gate_up_proj", Form::second_half_turned},
    NameRow{"moe.shared_experts.w1.weight", "model.layers.{layer}.feed_forward.shared_expert.gate_proj.weight"},
    NameRow{"moe.shared_experts.w2.weight", "model.layers.{layer}.feed_forward.shared_expert.down_proj.weight"},
    NameRow{"moe.shared_experts.w3.weight", "model.layers.{layer}.feed_forward.shared_expert.up_proj.weight"},
};

struct Family {
    std::string_view name;
    std::string_view prefix;  // of every tensor
    std::span<const NameRow> rows;
};
constexpr std::array kFamilies{Family{"qwen3_moe", "", kQwen3Moe}, Family{"llama4", "language_model.", kLlama4},
                               Family{"llama4_text", "", kLlama4}};

const Family& family_of(const ModelConfig& config) {
    const auto* const found = std::ranges::find(kFamilies, config.family, &Family::name);
    SP_ASSERT(found != kFamilies.end());
    return *found;
}

// A name taken apart; layer -1 where there is none.
struct Word {
    std::int64_t layer = -1;
    std::string_view word;
};

std::optional<Word> taken_apart(const ModelConfig& config, std::string_view parameter) {
    constexpr std::string_view kLayers = "layers.";
    if (!parameter.starts_with(kLayers)) return Word{-1, parameter};
    Word name{-1, parameter.substr(kLayers.size())};
    const auto [end, error] = std::from_chars(name.word.data(), name.word.data() + name.word.size(), name.layer);
    if (error != std::errc{} || end == name.word.data() + name.word.size() || *end != '.') return std::nullopt;
    if (name.layer < 0 || name.layer >= config.num_layers) return std::nullopt;
    name.word.remove_prefix(static_cast<std::size_t>(end - name.word.data()) + 1);
    return name;
}

bool has_qk_norm_weights(const ModelConfig& config) {
    const auto* const spec = std::get_if<GroupedQueryAttention>(&config.attention);
    return spec != nullptr && spec->qk_norm;
}

bool applies(const ModelConfig& config, const Word& name) {
    if (name.layer < 0) return true;
    if (name.word.starts_with("moe.")) return config.is_moe(name.layer);
    if (name.word.starts_with("feed_forward.")) return !config.is_moe(name.layer);
    const bool of_qk_norm = name.word == "attention.q_norm.weight" || name.word == "attention.k_norm.weight";
    return !of_qk_norm || has_qk_norm_weights(config);
}

struct Found {
    std::int64_t layer;
    const NameRow* row;
};

Found find(const ModelConfig& config, std::string_view parameter) {
    const std::optional<Word> name = taken_apart(config, parameter);
    if (name && applies(config, *name)) {
        const bool tied = name->layer < 0 && name->word == kHead && config.tie_embeddings;
        for (const NameRow& row : family_of(config).rows) {
            const bool in_layer = row.tensor.find("{layer}") != std::string_view::npos;
            if (row.parameter == (tied ? kEmbeddings : name->word) && in_layer == (name->layer >= 0))
                return {name->layer, &row};
        }
    }
    throw InputError{{"", "parameter", printable(parameter), "is not one of this model"}};
}

constexpr std::string_view kExperts = "moe.experts.";

}  // namespace

bool is_of_experts(const ModelConfig& config, std::string_view parameter) {
    return find(config, parameter).row->parameter.starts_with(kExperts);
}

Stored stored(const ModelConfig& config, std::string_view parameter, std::optional<std::int64_t> expert) {
    const auto [layer, row] = find(config, parameter);
    SP_ASSERT(expert.has_value() == row->parameter.starts_with(kExperts));
    Stored found;
    found.tensor = family_of(config).prefix;
    found.tensor +=
        fmt::format(fmt::runtime(row->tensor), fmt::arg("layer", layer), fmt::arg("expert", expert.value_or(0)));
    if (row->form == Form::plain) return found;
    found.expert = expert;
    found.transposed = true;
    found.parts = row->form == Form::turned ? 1 : 2;
    found.part = row->form == Form::second_half_turned ? 1 : 0;
    return found;
}

}  // namespace shardproof::oracle
