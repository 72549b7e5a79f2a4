#include "oracle/weights.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "oracle/model/error.hpp"
#include "oracle/transformer.hpp"

namespace shardproof::oracle {
namespace {

enum class In : std::uint8_t { model, every_layer, dense_layer, moe_layer, expert };

struct NameRow {
    std::string_view parameter;  // the contract's word, after "layers.L."
    std::string_view tensor;     // the checkpoint's word, after "model.layers.L." (and "mlp.experts.E.")
    In in;
};

constexpr std::string_view kEmbeddings = "model.embed_tokens.weight";
constexpr std::string_view kFinalNorm = "model.norm.weight";
constexpr std::string_view kHead = "lm_head.weight";
constexpr std::string_view kAttentionNorm = "input_layernorm.weight";
constexpr std::string_view kMlpNorm = "post_attention_layernorm.weight";
constexpr std::string_view kQ = "self_attn.q_proj.weight";
constexpr std::string_view kK = "self_attn.k_proj.weight";
constexpr std::string_view kV = "self_attn.v_proj.weight";
constexpr std::string_view kO = "self_attn.o_proj.weight";
constexpr std::string_view kQNorm = "self_attn.q_norm.weight";
constexpr std::string_view kKNorm = "self_attn.k_norm.weight";
constexpr std::string_view kRouter = "mlp.gate.weight";
constexpr std::string_view kGate = "gate_proj.weight";
constexpr std::string_view kUp = "up_proj.weight";
constexpr std::string_view kDown = "down_proj.weight";

constexpr std::array kNames{
    NameRow{"tok_embeddings.weight", kEmbeddings, In::model},
    NameRow{"norm.weight", kFinalNorm, In::model},
    NameRow{"lm_head.weight", kHead, In::model},
    NameRow{"attention_norm.weight", kAttentionNorm, In::every_layer},
    NameRow{"ffn_norm.weight", kMlpNorm, In::every_layer},
    NameRow{"attention.wq.weight", kQ, In::every_layer},
    NameRow{"attention.wk.weight", kK, In::every_layer},
    NameRow{"attention.wv.weight", kV, In::every_layer},
    NameRow{"attention.wo.weight", kO, In::every_layer},
    NameRow{"attention.q_norm.weight", kQNorm, In::every_layer},
    NameRow{"attention.k_norm.weight", kKNorm, In::every_layer},
    NameRow{"feed_forward.w1.weight", kGate, In::dense_layer},
    NameRow{"feed_forward.w2.weight", kDown, In::dense_layer},
    NameRow{"feed_forward.w3.weight", kUp, In::dense_layer},
    NameRow{"moe.router.gate.weight", kRouter, In::moe_layer},
    NameRow{"moe.experts.w1", kGate, In::expert},
    NameRow{"moe.experts.w2", kDown, In::expert},
    NameRow{"moe.experts.w3", kUp, In::expert},
};

std::string in_layer(std::int64_t layer, std::string_view tensor) {
    return fmt::format("model.layers.{}.{}", layer, tensor);
}
std::string in_mlp(std::int64_t layer, std::string_view tensor) {
    return fmt::format("model.layers.{}.mlp.{}", layer, tensor);
}
std::string in_expert(std::int64_t layer, std::int64_t expert, std::string_view tensor) {
    return fmt::format("model.layers.{}.mlp.experts.{}.{}", layer, expert, tensor);
}

bool applies(const ModelConfig& config, std::int64_t layer, const NameRow& row) {
    if (row.tensor == kQNorm || row.tensor == kKNorm) return config.grouped_query().qk_norm;
    if (row.in == In::every_layer) return true;
    return config.is_moe(layer) == (row.in != In::dense_layer);
}

}  // namespace

TensorView Weights::tensor(std::string_view name, const Shape& shape) const {
    TensorView view = checkpoint_->tensor(name);
    if (view.shape != shape) {
        throw InputError{
            {checkpoint_->name(), std::string{name}, to_string(view.shape), "shape must be " + to_string(shape)}};
    }
    return view;
}

TensorView Weights::embeddings() const { return tensor(kEmbeddings, {config_->vocab_size, config_->hidden_size}); }
TensorView Weights::final_norm() const { return tensor(kFinalNorm, {config_->hidden_size}); }
TensorView Weights::head() const {
    return config_->tie_embeddings ? embeddings() : tensor(kHead, {config_->vocab_size, config_->hidden_size});
}

AttentionWeights Weights::attention(std::int64_t layer) const {
    const GroupedQueryAttention& spec = config_->grouped_query();
    const std::int64_t d = config_->hidden_size;
    const std::int64_t q = spec.num_heads * spec.head_dim;
    const std::int64_t kv = spec.num_kv_heads * spec.head_dim;
    AttentionWeights weights;
    weights.norm = tensor(in_layer(layer, kAttentionNorm), {d});
    weights.wq = tensor(in_layer(layer, kQ), {q, d});
    weights.wk = tensor(in_layer(layer, kK), {kv, d});
    weights.wv = tensor(in_layer(layer, kV), {kv, d});
    weights.wo = tensor(in_layer(layer, kO), {d, q});
    if (spec.qk_norm) {
        weights.q_norm = tensor(in_layer(layer, kQNorm), {spec.head_dim});
        weights.k_norm = tensor(in_layer(layer, kKNorm), {spec.head_dim});
    }
    return weights;
}

TensorView Weights::mlp_norm(std::int64_t layer) const {
    return tensor(in_layer(layer, kMlpNorm), {config_->hidden_size});
}

MlpWeights Weights::feed_forward(std::int64_t layer) const {
    const std::int64_t d = config_->hidden_size;
    const std::int64_t f = config_->dense_intermediate_size;
    return {tensor(in_mlp(layer, kGate), {f, d}), tensor(in_mlp(layer, kUp), {f, d}),
            tensor(in_mlp(layer, kDown), {d, f})};
}

TensorView Weights::router(std::int64_t layer) const {
    return tensor(in_layer(layer, kRouter), {config_->router.num_experts, config_->hidden_size});
}

MlpWeights Weights::expert(std::int64_t layer, std::int64_t expert) const {
    const std::int64_t d = config_->hidden_size;
    const std::int64_t f = config_->moe_intermediate_size;
    return {tensor(in_expert(layer, expert, kGate), {f, d}), tensor(in_expert(layer, expert, kUp), {f, d}),
            tensor(in_expert(layer, expert, kDown), {d, f})};
}

NamedTensors tensors_of(const ModelConfig& config, std::string_view parameter) {
    const auto unknown = [&] {
        return InputError{{"", "parameter", printable(parameter), "is not one of this model"}};
    };
    std::int64_t layer = -1;
    std::string_view word = parameter;
    if (word.starts_with("layers.")) {
        word.remove_prefix(7);
        const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), layer);
        if (error != std::errc{} || end == word.data() + word.size() || *end != '.') throw unknown();
        if (layer < 0 || layer >= config.num_layers) throw unknown();
        word.remove_prefix(static_cast<std::size_t>(end - word.data()) + 1);
    }
    const auto row = std::find_if(kNames.begin(), kNames.end(), [&](const NameRow& r) {
        return r.parameter == word && (r.in == In::model) == (layer < 0);
    });
    if (row == kNames.end() || (layer >= 0 && !applies(config, layer, *row))) throw unknown();
    if (row->in == In::model) {
        const bool tied_head = row->tensor == kHead && config.tie_embeddings;
        return {{std::string{tied_head ? kEmbeddings : row->tensor}}, false};
    }
    if (row->in == In::dense_layer) return {{in_mlp(layer, row->tensor)}, false};
    if (row->in != In::expert) return {{in_layer(layer, row->tensor)}, false};
    NamedTensors stacked{{}, true};
    for (std::int64_t e = 0; e < config.router.num_experts; ++e) {
        stacked.tensors.push_back(in_expert(layer, e, row->tensor));
    }
    return stacked;
}

Tensor whole_parameter(const ModelConfig& config, const Checkpoint& checkpoint, std::string_view name) {
    const NamedTensors named = tensors_of(config, name);
    const TensorView first = checkpoint.tensor(named.tensors.front());
    Tensor whole{first.dtype, first.shape, {}};
    whole.bytes.reserve(first.bytes.size() * named.tensors.size());
    for (const std::string& tensor : named.tensors) {
        const TensorView part = checkpoint.tensor(tensor);
        if (part.shape != first.shape || part.dtype != first.dtype) {
            throw InputError{{checkpoint.name(), tensor, to_string(part.shape) + " " + std::string{name_of(part.dtype)},
                              "must be of the shape and dtype of " + named.tensors.front()}};
        }
        whole.bytes.insert(whole.bytes.end(), part.bytes.begin(), part.bytes.end());
    }
    if (named.stacked) whole.shape.insert(whole.shape.begin(), static_cast<std::int64_t>(named.tensors.size()));
    return whole;
}

}  // namespace shardproof::oracle
