// Qwen3-MoE's tensors: published names <-> parameters. Every expert is a tensor of its own; nothing is transposed.
#include <array>
#include <utility>

#include "oracle/model/families/families.hpp"

namespace shardproof::qwen3_moe {
namespace {

// A tensor that is a parameter of its own.
Source whole(std::string tensor, const Shape& shape) {
    Source source;
    source.tensor = std::move(tensor);
    source.tensor_shape = shape;
    source.tensor_begin.assign(shape.size(), 0);
    source.param_box.reserve(shape.size());
    source.param_dim_of.reserve(shape.size());
    for (std::size_t dim = 0; dim < shape.size(); ++dim) {
        source.param_box.push_back({0, shape[dim]});
        source.param_dim_of.push_back(dim);
    }
    return source;
}

// A tensor that is one expert's slice of a stacked parameter.
Source slice(std::string tensor, const Shape& shape, std::int64_t expert) {
    return {.tensor = std::move(tensor),
            .tensor_shape = shape,
            .param_box = {{expert, expert + 1}, {0, shape[0]}, {0, shape[1]}},
            .tensor_begin = {0, 0},
            .param_dim_of = {1, 2},
            .scale_tensor = std::nullopt};
}

// Collects parameters under the contract's names, layer by layer.
class Builder {
public:
    explicit Builder(const ModelConfig& config) : config_(config) {
        parameters_.reserve(static_cast<std::size_t>(config.num_layers) * 13 + 3);
    }

    void add(Role role, std::string name, std::string tensor, Shape shape) {
        Parameter& parameter = parameters_.emplace_back();
        parameter.name = std::move(name);
        parameter.role = role;
        parameter.sources.push_back(whole(std::move(tensor), shape));
        parameter.shape = std::move(shape);
    }

    void add_layer(std::int64_t layer) {
        const GroupedQueryAttention& attention = config_.grouped_query();
        const std::int64_t hidden = config_.hidden_size;
        const std::int64_t q = attention.num_heads * attention.head_dim;
        const std::int64_t kv = attention.num_kv_heads * attention.head_dim;
        const std::size_t first = parameters_.size();
        ours_ = "layers." + std::to_string(layer) + ".";
        theirs_ = "model." + ours_;
        add_here(Role::attention_norm, "attention_norm.weight", "input_layernorm.weight", {hidden});
        add_here(Role::wq, "attention.wq.weight", "self_attn.q_proj.weight", {q, hidden});
        add_here(Role::wk, "attention.wk.weight", "self_attn.k_proj.weight", {kv, hidden});
        add_here(Role::wv, "attention.wv.weight", "self_attn.v_proj.weight", {kv, hidden});
        add_here(Role::wo, "attention.wo.weight", "self_attn.o_proj.weight", {hidden, q});
        add_here(Role::q_norm, "attention.q_norm.weight", "self_attn.q_norm.weight", {attention.head_dim});
        add_here(Role::k_norm, "attention.k_norm.weight", "self_attn.k_norm.weight", {attention.head_dim});
        add_here(Role::ffn_norm, "ffn_norm.weight", "post_attention_layernorm.weight", {hidden});
        if (config_.is_moe(layer)) {
            add_moe();
        } else {
            add_dense();
        }
        for (std::size_t i = first; i < parameters_.size(); ++i) parameters_[i].layer = layer;
    }

    [[nodiscard]] std::vector<Parameter> take() && { return std::move(parameters_); }

private:
    void add_here(Role role, const char* name, const char* tensor, Shape shape) {
        add(role, ours_ + name, theirs_ + tensor, std::move(shape));
    }

    void add_dense() {
        const std::int64_t hidden = config_.hidden_size;
        const std::int64_t width = config_.dense_intermediate_size;
        add_here(Role::ffn_w1, "feed_forward.w1.weight", "mlp.gate_proj.weight", {width, hidden});
        add_here(Role::ffn_w2, "feed_forward.w2.weight", "mlp.down_proj.weight", {hidden, width});
        add_here(Role::ffn_w3, "feed_forward.w3.weight", "mlp.up_proj.weight", {width, hidden});
    }

    void add_moe() {
        const std::int64_t hidden = config_.hidden_size;
        const std::int64_t width = config_.moe_intermediate_size;
        add_here(Role::router_gate, "moe.router.gate.weight", "mlp.gate.weight", {config_.router.num_experts, hidden});
        add_experts(Role::expert_w1, "moe.experts.w1", ".gate_proj.weight", {width, hidden});
        add_experts(Role::expert_w2, "moe.experts.w2", ".down_proj.weight", {hidden, width});
        add_experts(Role::expert_w3, "moe.experts.w3", ".up_proj.weight", {width, hidden});
    }

    void add_experts(Role role, const char* name, const char* tensor, const Shape& shape) {
        const std::int64_t num_experts = config_.router.num_experts;
        Parameter& parameter = parameters_.emplace_back();
        parameter.name = ours_ + name;
        parameter.role = role;
        parameter.shape = {num_experts, shape[0], shape[1]};
        parameter.sources.reserve(static_cast<std::size_t>(num_experts));
        for (std::int64_t expert = 0; expert < num_experts; ++expert) {
            parameter.sources.push_back(
                slice(theirs_ + "mlp.experts." + std::to_string(expert) + tensor, shape, expert));
        }
    }

    const ModelConfig& config_;
    std::string ours_;    // "layers.3."
    std::string theirs_;  // "model.layers.3."
    std::vector<Parameter> parameters_;
};

}  // namespace

std::vector<Parameter> parameters(const ModelConfig& config) {
    Builder builder(config);
    const Shape table{config.vocab_size, config.hidden_size};
    builder.add(Role::tok_embeddings, "tok_embeddings.weight", "model.embed_tokens.weight", table);
    for (std::int64_t layer = 0; layer < config.num_layers; ++layer) builder.add_layer(layer);
    builder.add(Role::final_norm, "norm.weight", "model.norm.weight", {config.hidden_size});
    if (!config.tie_embeddings) builder.add(Role::lm_head, "lm_head.weight", "lm_head.weight", table);
    return std::move(builder).take();
}

std::int64_t active_parameters(const ModelConfig& config) {
    const GroupedQueryAttention& attention = config.grouped_query();
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t projections = 2 * (attention.num_heads + attention.num_kv_heads) * attention.head_dim * hidden;
    const std::int64_t norms = 2 * hidden + 2 * attention.head_dim;
    const std::int64_t dense = 3 * config.dense_intermediate_size * hidden;
    const std::int64_t moe =
        config.router.num_experts * hidden + config.router.top_k * 3 * config.moe_intermediate_size * hidden;
    std::int64_t count = hidden + config.vocab_size * hidden * (config.tie_embeddings ? 1 : 2);
    for (const MlpKind kind : config.mlp) count += projections + norms + (kind == MlpKind::moe ? moe : dense);
    return count;
}

}  // namespace shardproof::qwen3_moe
