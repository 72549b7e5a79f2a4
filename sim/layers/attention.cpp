#include "sim/layers/attention.hpp"

#include <algorithm>
#include <cmath>

#include "oracle/model/error.hpp"
#include "sim/layers/rope.hpp"
#include "sim/plan/shard.hpp"

namespace shardproof::sim {

namespace {

// One query against the keys of its sequence up to itself. `scores` is scratch.
void attend(const float* query, const Rows& k, const Rows& v, std::int64_t kv_column, std::int64_t head_dim,
            std::int64_t first_key, std::int64_t last_key, std::vector<float>& scores, Arithmetic arithmetic,
            float* out) {
    const auto num_keys = static_cast<std::size_t>(last_key - first_key + 1);
    const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
    scores.resize(num_keys);
    for (std::size_t i = 0; i < num_keys; ++i)
        scores[i] = dot(query, k.row(first_key + static_cast<std::int64_t>(i)) + kv_column, head_dim) * scale;
    settle(scores, arithmetic);
    const float largest = *std::ranges::max_element(scores);
    float sum = 0.0F;
    for (float& score : scores) {
        score = std::exp(score - largest);
        sum += score;
    }
    for (float& score : scores) score /= sum;
    settle(scores, arithmetic);
    std::fill(out, out + head_dim, 0.0F);
    for (std::size_t i = 0; i < num_keys; ++i) {
        const float* value = v.row(first_key + static_cast<std::int64_t>(i)) + kv_column;
        for (std::int64_t d = 0; d < head_dim; ++d) out[d] += scores[i] * value[d];
    }
}

}  // namespace

Rows causal_attention(const Rows& q, const Rows& k, const Rows& v, std::int64_t head_dim,
                      const std::vector<SequenceRows>& sequences, Arithmetic arithmetic, std::int64_t chunk) {
    const std::int64_t heads = q.cols / head_dim;
    const std::int64_t kv_heads = k.cols / head_dim;
    SP_ASSERT(kv_heads > 0 && heads % kv_heads == 0);
    Rows out = make_rows(q.rows(), q.cols);
    std::vector<float> scores;
    for (const SequenceRows& sequence : sequences) {
        for (std::int64_t t = sequence.begin; t < sequence.end; ++t) {
            const std::int64_t first_key = t - (t - sequence.begin) % chunk;
            for (std::int64_t h = 0; h < heads; ++h) {
                attend(q.row(t) + h * head_dim, k, v, h / (heads / kv_heads) * head_dim, head_dim, first_key, t, scores,
                       arithmetic, out.row(t) + h * head_dim);
            }
        }
    }
    settle(out.values, arithmetic);
    return out;
}

namespace {

// This rank's heads on normed x [n,D], up to the output projection: a partial sum over tp. `spec` outlives the task.
Task<Rows> attend(RankContext& rank, RankState& state, const RunContext& run, const GroupedQueryAttention& spec,
                  std::int64_t /*layer*/, const Rows& x) {
    const std::int64_t head_dim = spec.head_dim;
    const double eps = run.config().rms_norm_eps;
    const Weight wq = co_await gathered(rank, state, run, Role::wq);
    const Weight wk = co_await gathered(rank, state, run, Role::wk);
    const Weight wv = co_await gathered(rank, state, run, Role::wv);
    Rows q = linear(x, wq, run.arithmetic);
    Rows k = linear(x, wk, run.arithmetic);
    const Rows v = linear(x, wv, run.arithmetic);
    if (spec.qk_norm) {
        const Weight q_norm = co_await gathered(rank, state, run, Role::q_norm);
        const Weight k_norm = co_await gathered(rank, state, run, Role::k_norm);
        q = rms_norm(q, q_norm, eps, run.arithmetic);
        k = rms_norm(k, k_norm, eps, run.arithmetic);
    }
    const RopeTable rope = make_rope_table(spec.rope, head_dim, state.positions, run.longest_sequence);
    apply_rope(q, head_dim, rope, run.arithmetic);
    apply_rope(k, head_dim, rope, run.arithmetic);

    const Rows heads = causal_attention(q, k, v, head_dim, state.sequences, run.arithmetic);
    const Weight wo = co_await gathered(rank, state, run, Role::wo);
    co_return linear(heads, wo, run.arithmetic);
}

// Weights of one: the norm has none.
Rows l2_norm(const Rows& x, std::int64_t width, double eps, Arithmetic arithmetic) {
    const Weight ones{.shape = {width}, .values = std::vector<float>(static_cast<std::size_t>(width), 1.0F)};
    return rms_norm(x, ones, eps, arithmetic);
}

// Queries grow with their position, a step every floor_scale tokens.
void apply_temperature(Rows& q, const QueryTemperature& temperature, const std::vector<std::int64_t>& positions,
                       Arithmetic arithmetic) {
    for (std::int64_t t = 0; t < q.rows(); ++t) {
        const std::int64_t step = (positions[static_cast<std::size_t>(t)] + 1) / temperature.floor_scale;
        const auto factor = static_cast<float>(1.0 + temperature.attn_scale * std::log1p(static_cast<double>(step)));
        for (std::int64_t i = 0; i < q.cols; ++i) q.row(t)[i] *= factor;
    }
    settle(q.values, arithmetic);
}

Task<Rows> attend(RankContext& rank, RankState& state, const RunContext& run, const Llama4Attention& spec,
                  std::int64_t layer, const Rows& x) {
    const Weight wq = co_await gathered(rank, state, run, Role::wq);
    const Weight wk = co_await gathered(rank, state, run, Role::wk);
    const Weight wv = co_await gathered(rank, state, run, Role::wv);
    Rows q = linear(x, wq, run.arithmetic);
    Rows k = linear(x, wk, run.arithmetic);
    const Rows v = linear(x, wv, run.arithmetic);
    if (spec.has_rope(layer)) {
        const RopeTable rope = make_rope_table(spec.rope, spec.head_dim, state.positions, run.longest_sequence);
        apply_rope(q, spec.head_dim, rope, run.arithmetic);
        apply_rope(k, spec.head_dim, rope, run.arithmetic);
        if (spec.qk_norm) {
            const double eps = run.config().rms_norm_eps;
            q = l2_norm(q, spec.head_dim, eps, run.arithmetic);
            k = l2_norm(k, spec.head_dim, eps, run.arithmetic);
        }
    } else if (spec.temperature) {
        apply_temperature(q, *spec.temperature, state.positions, run.arithmetic);
    }
    const std::int64_t chunk = spec.is_chunked(layer) ? spec.chunk_size : kWholeSequence;
    const Rows heads = causal_attention(q, k, v, spec.head_dim, state.sequences, run.arithmetic, chunk);
    const Weight wo = co_await gathered(rank, state, run, Role::wo);
    co_return linear(heads, wo, run.arithmetic);
}

}  // namespace

Task<void> attention_block(RankContext& rank, RankState& state, const RunContext& run, std::int64_t layer) {
    const ModelConfig& config = run.config();
    const auto num_tokens = static_cast<std::int64_t>(state.tokens.size());
    const std::vector<std::int64_t> slices = slices_of(num_tokens, state.tp.size());

    const Weight norm = co_await gathered(rank, state, run, Role::attention_norm);
    Rows x = rms_norm(state.hidden, norm, config.rms_norm_eps, run.arithmetic);
    if (run.sequence_parallel())
        x = co_await all_gather_rows(rank, state.tp, x, slices, run.arithmetic, "attention input");

    Rows out = co_await std::visit([&](const auto& spec) { return attend(rank, state, run, spec, layer, x); },
                                   config.attention);
    if (run.sequence_parallel()) {
        out = co_await reduce_scatter_rows(rank, state.tp, out, slices, run.arithmetic, "attention output");
    } else {
        co_await all_reduce_rows(rank, state.tp, out, run.arithmetic, "attention output");
    }
    add(state.hidden, out, run.arithmetic);
}

}  // namespace shardproof::sim
