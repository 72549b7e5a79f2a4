// Parameters of Qwen3-MoE shape made by hand, for tests of placement that need no checkpoint.
#pragma once
#include <fmt/format.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "oracle/model/config.hpp"
#include "oracle/model/family.hpp"

namespace shardproof::testing {

struct Sizes {
    std::int64_t experts = 8, layers = 1, hidden = 16, heads = 4, kv_heads = 2, head_dim = 6, expert_hidden = 12;
    std::int64_t vocab = 40;
    std::int64_t dense_hidden = 0;  // of layer 0, when not 0
    std::int64_t top_k = 2;
    bool tied = false;
    bool expert_bias = false;
};

inline ModelConfig config_of(const Sizes& s) {
    ModelConfig config;
    config.family = "qwen3_moe";
    config.num_layers = s.layers;
    config.hidden_size = s.hidden;
    config.vocab_size = s.vocab;
    config.dense_intermediate_size = s.dense_hidden;
    config.moe_intermediate_size = s.expert_hidden;
    config.tie_embeddings = s.tied;
    config.grouped_query().num_heads = s.heads;
    config.grouped_query().num_kv_heads = s.kv_heads;
    config.grouped_query().head_dim = s.head_dim;
    config.grouped_query().qk_norm = true;
    config.router.num_experts = s.experts;
    config.router.top_k = s.top_k;
    config.mlp.assign(static_cast<std::size_t>(s.layers), MlpKind::moe);
    if (s.dense_hidden > 0) config.mlp.front() = MlpKind::dense;
    return config;
}

// One checkpoint tensor that holds all of the parameter.
inline Source whole_source(const std::string& tensor, const Shape& shape) {
    Source source{tensor, shape, {}, Shape(shape.size(), 0), {}, std::nullopt};
    for (std::size_t dim = 0; dim < shape.size(); ++dim) {
        source.param_box.push_back({0, shape[dim]});
        source.param_dim_of.push_back(dim);
    }
    return source;
}

// One checkpoint tensor an expert, stacked along dim 0.
inline std::vector<Source> stacked_sources(const std::string& prefix, const std::string& suffix, const Shape& shape) {
    std::vector<Source> sources;
    for (std::int64_t e = 0; e < shape[0]; ++e) {
        sources.push_back({fmt::format("{}{}{}", prefix, e, suffix),
                           {shape[1], shape[2]},
                           {{e, e + 1}, {0, shape[1]}, {0, shape[2]}},
                           {0, 0},
                           {1, 2},
                           std::nullopt});
    }
    return sources;
}

// Llama-4's and qwen3_5's layout: gate and up side by side, transposed, [E,D,2F].
inline std::vector<Parameter> fused_experts(std::int64_t e, std::int64_t f, std::int64_t d) {
    std::vector<Parameter> parameters;
    for (const bool up : {false, true}) {
        const Source source{"gate_up", {e, d, 2 * f}, {{0, e}, {0, f}, {0, d}}, {0, 0, up ? f : 0}, {0, 2, 1}, {}};
        parameters.push_back({up ? "layers.0.moe.experts.w3" : "layers.0.moe.experts.w1",
                              up ? Role::expert_w3 : Role::expert_w1,
                              0,
                              {e, f, d},
                              {source}});
    }
    return parameters;
}

// Experts in two tensors, each with half of every expert's rows: sources that tile a middle dim.
inline std::vector<Parameter> halved_experts(std::int64_t e, std::int64_t f, std::int64_t d) {
    const std::int64_t half = f / 2;
    const Source low{"low", {e, half, d}, {{0, e}, {0, half}, {0, d}}, {0, 0, 0}, {0, 1, 2}, {}};
    const Source high{"high", {e, f - half, d}, {{0, e}, {half, f}, {0, d}}, {0, 0, 0}, {0, 1, 2}, {}};
    return {{"layers.0.moe.experts.w1", Role::expert_w1, 0, {e, f, d}, {low, high}}};
}

class ParameterList {
public:
    void add(const std::string& name, Role role, std::optional<std::int64_t> layer, const Shape& shape,
             const std::string& tensor) {
        list_.push_back({name, role, layer, shape, {whole_source(tensor, shape)}});
    }
    void add_experts(const std::string& name, Role role, std::int64_t layer, const Shape& shape,
                     const std::string& projection) {
        const std::string prefix = "model.layers." + std::to_string(layer) + ".mlp.experts.";
        list_.push_back({name, role, layer, shape, stacked_sources(prefix, "." + projection + ".weight", shape)});
    }
    std::vector<Parameter> take() { return std::move(list_); }

private:
    std::vector<Parameter> list_;
};

inline void add_layer(ParameterList& list, const Sizes& s, std::int64_t layer) {
    const std::string ours = "layers." + std::to_string(layer) + ".";
    const std::string theirs = "model.layers." + std::to_string(layer) + ".";
    list.add(ours + "attention_norm.weight", Role::attention_norm, layer, {s.hidden},
             theirs + "input_layernorm.weight");
    list.add(ours + "attention.wq.weight", Role::wq, layer, {s.heads * s.head_dim, s.hidden},
             theirs + "self_attn.q_proj.weight");
    list.add(ours + "attention.wk.weight", Role::wk, layer, {s.kv_heads * s.head_dim, s.hidden},
             theirs + "self_attn.k_proj.weight");
    list.add(ours + "attention.wv.weight", Role::wv, layer, {s.kv_heads * s.head_dim, s.hidden},
             theirs + "self_attn.v_proj.weight");
    list.add(ours + "attention.wo.weight", Role::wo, layer, {s.hidden, s.heads * s.head_dim},
             theirs + "self_attn.o_proj.weight");
    list.add(ours + "attention.q_norm.weight", Role::q_norm, layer, {s.head_dim}, theirs + "self_attn.q_norm.weight");
    list.add(ours + "attention.k_norm.weight", Role::k_norm, layer, {s.head_dim}, theirs + "self_attn.k_norm.weight");
    list.add(ours + "ffn_norm.weight", Role::ffn_norm, layer, {s.hidden}, theirs + "post_attention_layernorm.weight");
    if (s.dense_hidden > 0 && layer == 0) {
        list.add(ours + "feed_forward.w1.weight", Role::ffn_w1, layer, {s.dense_hidden, s.hidden},
                 theirs + "mlp.gate_proj.weight");
        list.add(ours + "feed_forward.w2.weight", Role::ffn_w2, layer, {s.hidden, s.dense_hidden},
                 theirs + "mlp.down_proj.weight");
        list.add(ours + "feed_forward.w3.weight", Role::ffn_w3, layer, {s.dense_hidden, s.hidden},
                 theirs + "mlp.up_proj.weight");
        return;
    }
    list.add(ours + "moe.router.gate.weight", Role::router_gate, layer, {s.experts, s.hidden},
             theirs + "mlp.gate.weight");
    if (s.expert_bias) {
        list.add(ours + "moe.expert_bias", Role::expert_bias, layer, {s.experts},
                 theirs + "mlp.gate.e_score_correction_bias");
    }
    list.add_experts(ours + "moe.experts.w1", Role::expert_w1, layer, {s.experts, s.expert_hidden, s.hidden},
                     "gate_proj");
    list.add_experts(ours + "moe.experts.w2", Role::expert_w2, layer, {s.experts, s.hidden, s.expert_hidden},
                     "down_proj");
    list.add_experts(ours + "moe.experts.w3", Role::expert_w3, layer, {s.experts, s.expert_hidden, s.hidden},
                     "up_proj");
}

inline std::vector<Parameter> parameters_of(const Sizes& s) {
    ParameterList list;
    list.add("tok_embeddings.weight", Role::tok_embeddings, std::nullopt, {s.vocab, s.hidden},
             "model.embed_tokens.weight");
    for (std::int64_t layer = 0; layer < s.layers; ++layer) add_layer(list, s, layer);
    list.add("norm.weight", Role::final_norm, std::nullopt, {s.hidden}, "model.norm.weight");
    if (!s.tied) list.add("lm_head.weight", Role::lm_head, std::nullopt, {s.vocab, s.hidden}, "lm_head.weight");
    return list.take();
}

}  // namespace shardproof::testing
