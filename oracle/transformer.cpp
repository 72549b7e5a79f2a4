#include "oracle/transformer.hpp"

#include <span>

#include "oracle/attention.hpp"
#include "oracle/experts.hpp"
#include "oracle/linear.hpp"
#include "oracle/norm.hpp"

namespace shardproof::oracle {
namespace {

Matrix embed(const TensorView& embeddings, const TokenLayout& tokens) {
    Matrix x(static_cast<Index>(tokens.ids.size()), embeddings.shape[1]);
    for (Index row = 0; row < x.rows(); ++row) {
        const std::int64_t id = tokens.ids[static_cast<std::size_t>(row)];
        x.row(row) = widen_rows(embeddings, id, id + 1);
    }
    return x;
}

Matrix mixture(const ModelConfig& config, const Weights& weights, std::int64_t layer, const Matrix& x) {
    const TensorView gate = weights.router(layer);
    Matrix logits = linear(x, gate);
    const std::span<double> scores{logits.data(), static_cast<std::size_t>(logits.size())};
    tie_twins(lowest_twins(gate), scores);
    const Routing routing = route(config.router, scores);
    Matrix out = experts(config.router, x, routing, [&](std::int64_t e) { return weights.expert(layer, e); });
    if (config.shared_intermediate_size > 0) out += swiglu(x, weights.shared_expert(layer));
    return out;
}

Matrix decoder_layer(const ModelConfig& config, const Weights& weights, std::int64_t layer, const RopeTable& rope,
                     const TokenLayout& tokens, Matrix x) {
    const AttentionWeights own = weights.attention(layer);
    x += attention(config, layer, own, rope, tokens, rms_norm(x, widen(own.norm), config.rms_norm_eps));
    const Matrix normed = rms_norm(x, widen(weights.mlp_norm(layer)), config.rms_norm_eps);
    x += config.is_moe(layer) ? mixture(config, weights, layer, normed) : swiglu(normed, weights.feed_forward(layer));
    return x;
}

}  // namespace

Logits forward(const ModelConfig& config, const Checkpoint& checkpoint, const Batch& batch,
               const std::function<void(std::int64_t, std::int64_t)>& progress) {
    const Weights weights{config, checkpoint};
    const TokenLayout tokens = token_layout(batch);
    const RopeTable rope = rope_table(config.rope(), config.heads().head_dim, tokens.longest);
    const std::int64_t stages = config.num_layers + 2;
    const auto tell = [&](std::int64_t done) {
        if (progress) progress(done, stages);
    };

    Matrix x = embed(weights.embeddings(), tokens);
    tell(1);
    for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
        x = decoder_layer(config, weights, layer, rope, tokens, std::move(x));
        tell(layer + 2);
    }
    const Matrix logits =
        linear(rms_norm(std::move(x), widen(weights.final_norm()), config.rms_norm_eps), weights.head());
    tell(stages);
    return {logits.rows(), logits.cols(), {logits.data(), logits.data() + logits.size()}};
}

}  // namespace shardproof::oracle
