#include "oracle/attention.hpp"

#include <algorithm>
#include <cmath>

#include "oracle/linear.hpp"
#include "oracle/norm.hpp"
#include "oracle/softmax.hpp"

namespace shardproof::oracle {

TokenLayout token_layout(const Batch& batch) {
    TokenLayout layout;
    std::int64_t sequence_idx = 0;
    for (const Sequence& sequence : batch.sequences) {
        const auto length = static_cast<std::int64_t>(sequence.ids.size());
        const auto begin = static_cast<std::int64_t>(layout.ids.size());
        layout.sequences.push_back({begin, begin + length});
        layout.longest = std::max(layout.longest, length);
        layout.ids.insert(layout.ids.end(), sequence.ids.begin(), sequence.ids.end());
        for (std::int64_t position = 0; position < length; ++position) {
            layout.sequence.push_back(sequence_idx);
            layout.position.push_back(position);
        }
        ++sequence_idx;
    }
    return layout;
}

Matrix rotate(Matrix heads, std::span<const std::int64_t> position, const RopeTable& rope) {
    const Index half = rope.half;
    for (Index row = 0; row < heads.rows(); ++row) {
        const double* cos = rope.cos.data() + position[static_cast<std::size_t>(row)] * half;
        const double* sin = rope.sin.data() + position[static_cast<std::size_t>(row)] * half;
        for (Index head = 0; head < heads.cols(); head += 2 * half) {
            double* values = &heads(row, head);
            for (Index d = 0; d < half; ++d) {
                const double a = values[rope.first(d)];
                const double b = values[rope.second(d)];
                values[rope.first(d)] = a * cos[d] - b * sin[d];
                values[rope.second(d)] = b * cos[d] + a * sin[d];
            }
        }
    }
    return heads;
}

Matrix causal_attention(const Heads& heads, const TokenLayout& tokens, const Matrix& q, const Matrix& k,
                        const Matrix& v, std::int64_t chunk) {
    const Index width = heads.head_dim;
    const Index group = heads.num_heads / heads.num_kv_heads;
    const double scale = 1.0 / std::sqrt(static_cast<double>(width));
    Matrix out = Matrix::Zero(q.rows(), q.cols());
    std::vector<double> probabilities(static_cast<std::size_t>(tokens.longest));
    for (const Run& rows : tokens.sequences) {
        for (Index head = 0; head < heads.num_heads; ++head) {
            const Index kv = head / group * width;
            for (Index i = rows.begin; i < rows.end; ++i) {
                const Index first = first_seen(rows, i, chunk);
                const std::span<double> p = std::span{probabilities}.first(static_cast<std::size_t>(i - first + 1));
                const auto query = q.row(i).segment(head * width, width);
                for (Index j = first; j <= i; ++j) {
                    p[static_cast<std::size_t>(j - first)] = scale * query.dot(k.row(j).segment(kv, width));
                }
                softmax(p);
                auto result = out.row(i).segment(head * width, width);
                for (Index j = first; j <= i; ++j) {
                    result += p[static_cast<std::size_t>(j - first)] * v.row(j).segment(kv, width);
                }
            }
        }
    }
    return out;
}

std::vector<double> query_factors(const QueryTemperature& temperature, std::span<const std::int64_t> position) {
    std::vector<double> factors;
    for (const std::int64_t p : position) {
        const auto steps = static_cast<double>((p + 1) / temperature.floor_scale);
        factors.push_back(std::log1p(steps) * temperature.attn_scale + 1.0);
    }
    return factors;
}

namespace {

// What a block's maths has beside the attention's own description.
struct Block {
    std::int64_t layer;
    double eps;
    const AttentionWeights& weights;
    const RopeTable& rope;
    const TokenLayout& tokens;
};

Matrix attend(const GroupedQueryAttention& spec, const Block& block, const Matrix& x) {
    const AttentionWeights& weights = block.weights;
    Matrix q = linear(x, weights.wq);
    Matrix k = linear(x, weights.wk);
    const Matrix v = linear(x, weights.wv);
    if (spec.qk_norm) {
        q = rms_norm(std::move(q), widen(weights.q_norm), block.eps);
        k = rms_norm(std::move(k), widen(weights.k_norm), block.eps);
    }
    q = rotate(std::move(q), block.tokens.position, block.rope);
    k = rotate(std::move(k), block.tokens.position, block.rope);
    return linear(causal_attention(heads_of(spec), block.tokens, q, k, v), weights.wo);
}

Matrix attend(const Llama4Attention& spec, const Block& block, const Matrix& x) {
    Matrix q = linear(x, block.weights.wq);
    Matrix k = linear(x, block.weights.wk);
    const Matrix v = linear(x, block.weights.wv);
    const std::vector<std::int64_t>& position = block.tokens.position;
    if (spec.has_rope(block.layer)) {
        q = rotate(std::move(q), position, block.rope);
        k = rotate(std::move(k), position, block.rope);
        if (spec.qk_norm) {
            q = l2_norm(std::move(q), spec.head_dim, block.eps);
            k = l2_norm(std::move(k), spec.head_dim, block.eps);
        }
    } else if (spec.temperature) {
        const std::vector<double> factors = query_factors(*spec.temperature, position);
        for (Index row = 0; row < q.rows(); ++row) q.row(row) *= factors[static_cast<std::size_t>(row)];
    }
    const std::int64_t chunk = spec.is_chunked(block.layer) ? spec.chunk_size : kWholeSequence;
    return linear(causal_attention(heads_of(spec), block.tokens, q, k, v, chunk), block.weights.wo);
}

}  // namespace

Matrix attention(const ModelConfig& config, std::int64_t layer, const AttentionWeights& weights, const RopeTable& rope,
                 const TokenLayout& tokens, const Matrix& x) {
    const Block block{layer, config.rms_norm_eps, weights, rope, tokens};
    return std::visit([&](const auto& spec) { return attend(spec, block, x); }, config.attention);
}

}  // namespace shardproof::oracle
