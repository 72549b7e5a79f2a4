// Llama 4's tensors: published names <-> parameters. Experts lie fused and transposed: gate_up_proj [E,D,2F] holds
// every gate before every up, down_proj is [E,F,D].
#include <string>
#include <utility>

#include "oracle/model/families/families.hpp"
#include "oracle/model/families/parameter_list.hpp"

namespace shardproof::llama4 {
namespace {

void add_attention(ParameterList& list, const ModelConfig& config) {
    const Heads heads = config.heads();
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t q = heads.num_heads * heads.head_dim;
    const std::int64_t kv = heads.num_kv_heads * heads.head_dim;
    list.add(Role::attention_norm, "attention_norm.weight", "input_layernorm.weight", {hidden});
    list.add(Role::wq, "attention.wq.weight", "self_attn.q_proj.weight", {q, hidden});
    list.add(Role::wk, "attention.wk.weight", "self_attn.k_proj.weight", {kv, hidden});
    list.add(Role::wv, "attention.wv.weight", "self_attn.v_proj.weight", {kv, hidden});
    list.add(Role::wo, "attention.wo.weight", "self_attn.o_proj.weight", {hidden, q});
}

void add_dense(ParameterList& list, const ModelConfig& config) {
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t width = config.dense_intermediate_size;
    list.add(Role::ffn_w1, "feed_forward.w1.weight", "feed_forward.gate_proj.weight", {width, hidden});
    list.add(Role::ffn_w2, "feed_forward.w2.weight", "feed_forward.down_proj.weight", {hidden, width});
    list.add(Role::ffn_w3, "feed_forward.w3.weight", "feed_forward.up_proj.weight", {width, hidden});
}

void add_moe(ParameterList& list, const ModelConfig& config) {
    const std::int64_t experts = config.router.num_experts;
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t width = config.moe_intermediate_size;
    const std::int64_t shared = config.shared_intermediate_size;
    constexpr std::string_view kGateUp = "feed_forward.experts.gate_up_proj";
    constexpr std::string_view kDown = "feed_forward.experts.down_proj";
    list.add(Role::router_gate, "moe.router.gate.weight", "feed_forward.router.weight", {experts, hidden});
    list.add_turned(Role::expert_w1, "moe.experts.w1", kGateUp, {experts, width, hidden}, 0, 2);
    list.add_turned(Role::expert_w2, "moe.experts.w2", kDown, {experts, hidden, width});
    list.add_turned(Role::expert_w3, "moe.experts.w3", kGateUp, {experts, width, hidden}, 1, 2);
    list.add(Role::shared_w1, "moe.shared_experts.w1.weight", "feed_forward.shared_expert.gate_proj.weight",
             {shared, hidden});
    list.add(Role::shared_w2, "moe.shared_experts.w2.weight", "feed_forward.shared_expert.down_proj.weight",
             {hidden, shared});
    list.add(Role::shared_w3, "moe.shared_experts.w3.weight", "feed_forward.shared_expert.up_proj.weight",
             {shared, hidden});
}

}  // namespace

std::vector<Parameter> parameters(const ModelConfig& config) {
    ParameterList list(config.family == kLlama4.model_type ? "language_model." : "");
    const Shape table{config.vocab_size, config.hidden_size};
    list.add(Role::tok_embeddings, "tok_embeddings.weight", "model.embed_tokens.weight", table);
    for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
        list.enter_layer(layer);
        add_attention(list, config);
        list.add(Role::ffn_norm, "ffn_norm.weight", "post_attention_layernorm.weight", {config.hidden_size});
        config.is_moe(layer) ? add_moe(list, config) : add_dense(list, config);
    }
    list.leave_layers();
    list.add(Role::final_norm, "norm.weight", "model.norm.weight", {config.hidden_size});
    if (!config.tie_embeddings) list.add(Role::lm_head, "lm_head.weight", "lm_head.weight", table);
    return std::move(list).take();
}

std::int64_t active_parameters(const ModelConfig& config) {
    const Heads heads = config.heads();
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t attention = 2 * hidden * ((heads.num_heads + heads.num_kv_heads) * heads.head_dim + 1);
    const std::int64_t dense = 3 * config.dense_intermediate_size * hidden;
    const std::int64_t experts = config.router.top_k * config.moe_intermediate_size + config.shared_intermediate_size;
    const std::int64_t moe = config.router.num_experts * hidden + 3 * experts * hidden;
    std::int64_t count = hidden + config.vocab_size * hidden * (config.tie_embeddings ? 1 : 2);
    for (const MlpKind kind : config.mlp) count += attention + (kind == MlpKind::moe ? moe : dense);
    return count;
}

}  // namespace shardproof::llama4
