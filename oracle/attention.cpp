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
            double* first = &heads(row, head);
            double* second = first + half;
            for (Index d = 0; d < half; ++d) {
                const double a = first[d];
                const double b = second[d];
                first[d] = a * cos[d] - b * sin[d];
                second[d] = b * cos[d] + a * sin[d];
            }
        }
    }
    return heads;
}

Matrix causal_attention(const GroupedQueryAttention& spec, const TokenLayout& tokens, const Matrix& q, const Matrix& k,
                        const Matrix& v) {
    const Index width = spec.head_dim;
    const Index group = spec.num_heads / spec.num_kv_heads;
    const double scale = 1.0 / std::sqrt(static_cast<double>(width));
    Matrix out = Matrix::Zero(q.rows(), q.cols());
    std::vector<double> probabilities(static_cast<std::size_t>(tokens.longest));
    for (const Run& rows : tokens.sequences) {
        for (Index head = 0; head < spec.num_heads; ++head) {
            const Index kv = head / group * width;
            for (Index i = rows.begin; i < rows.end; ++i) {
                const std::span<double> p =
                    std::span{probabilities}.first(static_cast<std::size_t>(i - rows.begin + 1));
                const auto query = q.row(i).segment(head * width, width);
                for (Index j = rows.begin; j <= i; ++j) {
                    p[static_cast<std::size_t>(j - rows.begin)] = scale * query.dot(k.row(j).segment(kv, width));
                }
                softmax(p);
                auto result = out.row(i).segment(head * width, width);
                for (Index j = rows.begin; j <= i; ++j) {
                    result += p[static_cast<std::size_t>(j - rows.begin)] * v.row(j).segment(kv, width);
                }
            }
        }
    }
    return out;
}

namespace {

Matrix attend(const GroupedQueryAttention& spec, double eps, const AttentionWeights& weights, const RopeTable& rope,
              const TokenLayout& tokens, const Matrix& x) {
    Matrix q = linear(x, weights.wq);
    Matrix k = linear(x, weights.wk);
    const Matrix v = linear(x, weights.wv);
    if (spec.qk_norm) {
        q = rms_norm(std::move(q), widen(weights.q_norm), eps);
        k = rms_norm(std::move(k), widen(weights.k_norm), eps);
    }
    q = rotate(std::move(q), tokens.position, rope);
    k = rotate(std::move(k), tokens.position, rope);
    return linear(causal_attention(spec, tokens, q, k, v), weights.wo);
}

}  // namespace

Matrix attention(const ModelConfig& config, const AttentionWeights& weights, const RopeTable& rope,
                 const TokenLayout& tokens, const Matrix& x) {
    return std::visit([&](const auto& spec) { return attend(spec, config.rms_norm_eps, weights, rope, tokens, x); },
                      config.attention);
}

}  // namespace shardproof::oracle
