// Qwen3-MoE's tensors: published names <-> parameters. Every expert is a tensor of its own; nothing is transposed.
#include <utility>

#include "oracle/model/families/families.hpp"
#include "oracle/model/families/parameter_list.hpp"

namespace shardproof::qwen3_moe {
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
    list.add(Role::q_norm, "attention.q_norm.weight", "self_attn.q_norm.weight", {heads.head_dim});
    list.add(Role::k_norm, "attention.k_norm.weight", "self_attn.k_norm.weight", {heads.head_dim});
}

void add_dense(ParameterList& list, const ModelConfig& config) {
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t width = config.dense_intermediate_size;
    list.add(Role::ffn_w1, "feed_forward.w1.weight", "mlp.gate_proj.weight", {width, hidden});
    list.add(Role::ffn_w2, "feed_forward.w2.weight", "mlp.down_proj.weight", {hidden, width});
    list.add(Role::ffn_w3, "feed_forward.w3.weight", "mlp.up_proj.weight", {width, hidden});
}

void add_moe(ParameterList& list, const ModelConfig& config) {
    const std::int64_t experts = config.router.num_experts;
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t width = config.moe_intermediate_size;
    constexpr std::string_view kExperts = "mlp.experts.";
    list.add(Role::router_gate, "moe.router.gate.weight", "mlp.gate.weight", {experts, hidden});
    list.add_experts(Role::expert_w1, "moe.experts.w1", kExperts, ".gate_proj.weight", {experts, width, hidden});
    list.add_experts(Role::expert_w2, "moe.experts.w2", kExperts, ".down_proj.weight", {experts, hidden, width});
    list.add_experts(Role::expert_w3, "moe.experts.w3", kExperts, ".up_proj.weight", {experts, width, hidden});
}

}  // namespace

std::vector<Parameter> parameters(const ModelConfig& config) {
    ParameterList list("");
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
    if (!config.tie_embeddings) list.add(Role::lm_head, "lm_head.weight", kQwen3Moe.tied_head, table);
    return std::move(list).take();
}

std::int64_t active_parameters(const ModelConfig& config) {
    const Heads heads = config.heads();
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t projections = 2 * (heads.num_heads + heads.num_kv_heads) * heads.head_dim * hidden;
    const std::int64_t norms = 2 * hidden + 2 * heads.head_dim;
    const std::int64_t dense = 3 * config.dense_intermediate_size * hidden;
    const std::int64_t moe =
        config.router.num_experts * hidden + config.router.top_k * 3 * config.moe_intermediate_size * hidden;
    std::int64_t count = hidden + config.vocab_size * hidden * (config.tie_embeddings ? 1 : 2);
    for (const MlpKind kind : config.mlp) count += projections + norms + (kind == MlpKind::moe ? moe : dense);
    return count;
}

}  // namespace shardproof::qwen3_moe
