#include "oracle/bounded_block.hpp"

#include <utility>
#include <variant>

namespace shardproof::oracle {
namespace {

// What a block's maths has beside the attention's own description.
struct Block {
    std::int64_t layer;
    double eps;
    const AttentionWeights& weights;
    const RopeTable& rope;
    const TokenLayout& tokens;
    const Roundoff& roundoff;

    [[nodiscard]] Bounded output(const Bounded& heads) const {
        return linear(heads, weights.wo, roundoff, {.extra_terms = 0, .partial_roundings = 1});
    }
};

Bounded attend(const GroupedQueryAttention& spec, const Block& block, const Bounded& x) {
    const Roundoff& roundoff = block.roundoff;
    Bounded q = linear(x, block.weights.wq, roundoff);
    Bounded k = linear(x, block.weights.wk, roundoff);
    const Bounded v = linear(x, block.weights.wv, roundoff);
    if (spec.qk_norm) {
        q = rms_norm(q, block.weights.q_norm, block.eps, roundoff);
        k = rms_norm(k, block.weights.k_norm, block.eps, roundoff);
    }
    q = rotate(q, block.tokens.position, block.rope, roundoff);
    k = rotate(k, block.tokens.position, block.rope, roundoff);
    return block.output(causal_attention(heads_of(spec), block.tokens, q, k, v, roundoff));
}

Bounded attend(const Llama4Attention& spec, const Block& block, const Bounded& x) {
    const Roundoff& roundoff = block.roundoff;
    const std::vector<std::int64_t>& position = block.tokens.position;
    Bounded q = linear(x, block.weights.wq, roundoff);
    Bounded k = linear(x, block.weights.wk, roundoff);
    const Bounded v = linear(x, block.weights.wv, roundoff);
    if (spec.has_rope(block.layer)) {
        q = rotate(q, position, block.rope, roundoff);
        k = rotate(k, position, block.rope, roundoff);
        if (spec.qk_norm) {
            q = l2_norm(q, spec.head_dim, block.eps, roundoff);
            k = l2_norm(k, spec.head_dim, block.eps, roundoff);
        }
    } else if (spec.temperature) {
        q = scale_rows(std::move(q), query_factors(*spec.temperature, position), roundoff);
    }
    const std::int64_t chunk = spec.is_chunked(block.layer) ? spec.chunk_size : kWholeSequence;
    return block.output(causal_attention(heads_of(spec), block.tokens, q, k, v, roundoff, chunk));
}

}  // namespace

Bounded bounded_attention(const ModelConfig& config, std::int64_t layer, const AttentionWeights& weights,
                          const RopeTable& rope, const TokenLayout& tokens, const Bounded& x,
                          const Roundoff& roundoff) {
    const Block block{layer, config.rms_norm_eps, weights, rope, tokens, roundoff};
    return std::visit([&](const auto& spec) { return attend(spec, block, x); }, config.attention);
}

}  // namespace shardproof::oracle
