// Causal grouped-query attention of a batch of sequences.
#pragma once
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "oracle/eigen.hpp"
#include "oracle/model/batch.hpp"
#include "oracle/model/box.hpp"
#include "oracle/rope.hpp"
#include "oracle/weights.hpp"

namespace shardproof::oracle {

// A chunk that no sequence ends.
inline constexpr std::int64_t kWholeSequence = std::numeric_limits<std::int64_t>::max();

// Where each token of the batch stands. Rows of every [N, .] matrix are tokens in TokenId order.
struct TokenLayout {
    std::vector<std::int64_t> ids;       // [N]
    std::vector<std::int64_t> sequence;  // [N]
    std::vector<std::int64_t> position;  // [N], within its sequence
    std::vector<Run> sequences;          // rows of each, the empty ones included
    std::int64_t longest = 0;            // length of the longest sequence
};
[[nodiscard]] TokenLayout token_layout(const Batch& batch);

// [n, heads*head_dim] with the pairs of each head rotated: (a, b) -> (a cos - b sin, b cos + a sin).
[[nodiscard]] Matrix rotate(Matrix heads, std::span<const std::int64_t> position, const RopeTable& rope);

// softmax(q kᵀ / sqrt(head_dim)) v within each sequence, no token seeing a later one, nor one outside its own `chunk`
// consecutive positions. q is [N, heads*head_dim], k and v [N, kv_heads*head_dim]; heads h*g .. h*g+g-1 share kv head
// h, g = heads / kv_heads.
[[nodiscard]] Matrix causal_attention(const Heads& heads, const TokenLayout& tokens, const Matrix& q, const Matrix& k,
                                      const Matrix& v, std::int64_t chunk = kWholeSequence);
// The first row that row `row` of a sequence sees.
[[nodiscard]] inline std::int64_t first_seen(const Run& sequence, std::int64_t row, std::int64_t chunk) {
    return row - (row - sequence.begin) % chunk;
}

// What Llama 4 multiplies each token's query with.
[[nodiscard]] std::vector<double> query_factors(const QueryTemperature& temperature,
                                                std::span<const std::int64_t> position);

// The whole block of a layer on normed x [N,D]: projections, q/k norm, rotation, attention, output projection.
[[nodiscard]] Matrix attention(const ModelConfig& config, std::int64_t layer, const AttentionWeights& weights,
                               const RopeTable& rope, const TokenLayout& tokens, const Matrix& x);

}  // namespace shardproof::oracle
