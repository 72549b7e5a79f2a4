// For tests of the judge: a plain backend in float that shares no arithmetic with the oracle.
#pragma once
#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "oracle/model/batch.hpp"
#include "oracle/model/result.hpp"
#include "oracle/rope.hpp"
#include "oracle/tiny_model.hpp"
#include "oracle/transformer.hpp"

namespace shardproof::oracle {

// How the backend computes what the judge must accept in any way.
struct Style {
    Arithmetic arithmetic = Arithmetic::f32;
    enum class Order { forward, backward, halves } order = Order::forward;
    int ranks = 1;  // partial sums of wo and w2, each rank's part stored in the arithmetic before they are added
    bool eager = false;  // bf16: also stores scores, silu, normed rows, weighted outputs and rounded weights
};

// Dense, one rank, float. Rows of a token in vectors.
class DenseBackend {
public:
    using Vec = std::vector<float>;
    using Mat = std::vector<Vec>;

    DenseBackend(const TinyModel& model, const Batch& batch, Style style)
        : model_{model}, batch_{batch}, style_{style} {}

    // One record that holds all tokens, stage by stage.
    std::vector<StageRecord> run() {
        std::vector<StageRecord> stages;
        const Mat table = matrix("tok_embeddings.weight");
        Mat x;
        for (const Sequence& sequence : batch_.sequences) {
            for (const std::int64_t id : sequence.ids) x.push_back(table[static_cast<std::size_t>(id)]);
        }
        const std::int64_t d = model_.config.hidden_size;
        stages.push_back(stage(StageKind::embeddings, -1));
        stages.back().ranks[0].output = flat(x, d);
        for (std::int64_t l = 0; l < model_.config.num_layers; ++l) {
            StageRecord layer = stage(StageKind::layer, l);
            RankRecord& record = layer.ranks[0];
            record.input = flat(x, d);
            x = attention(l, x);
            record.hidden = flat(x, d);
            x = model_.config.is_moe(l) ? moe(l, x, record) : dense(l, x);
            record.output = flat(x, d);
            stages.push_back(std::move(layer));
        }
        StageRecord head = stage(StageKind::head, -1);
        head.ranks[0].input = flat(x, d);
        const Mat out = matrix("lm_head.weight");
        for (Vec& row : x) row = linear(norm(row, vec("norm.weight")), out, 1);
        head.ranks[0].output = flat(x, model_.config.vocab_size);
        stages.push_back(std::move(head));
        return stages;
    }

private:
    bool bf16() const { return style_.arithmetic == Arithmetic::bf16; }
    float store(float x) const { return bf16() ? round_to_bf16(x) : x; }
    float eager(float x) const { return style_.eager ? store(x) : x; }

    StageRecord stage(StageKind kind, std::int64_t layer) const {
        StageRecord record{kind, layer, {RankRecord{}}};
        for (std::int64_t t = 0; t < batch_.num_tokens(); ++t) record.ranks[0].tokens.emplace_back(t);
        return record;
    }
    static Rows flat(const Mat& x, std::int64_t cols) {
        Rows rows{cols, {}};
        for (const Vec& row : x) rows.values.insert(rows.values.end(), row.begin(), row.end());
        return rows;
    }
    // Parameters by the contract's names.
    const Tensor& parameter(const std::string& name) const {
        const auto found = parameters_.find(name);
        if (found != parameters_.end()) return found->second;
        return parameters_.emplace(name, whole_parameter(model_.config, model_.checkpoint, name)).first->second;
    }
    Vec vec(const std::string& name) const {
        const Tensor& tensor = parameter(name);
        Vec values(static_cast<std::size_t>(num_elements(tensor.shape)));
        widen_to_f32(tensor.dtype, tensor.bytes, values);
        // A bf16 backend's embeddings are bf16; of the rest it may hold f32 or bf16.
        if (style_.eager || name == "tok_embeddings.weight") {
            for (float& value : values) value = store(value);
        }
        return values;
    }
    // Its rows; of an expert's stack [E,R,C] those of one expert.
    Mat matrix(const std::string& name, std::int64_t expert = 0) const {
        const Shape& shape = parameter(name).shape;
        const auto cols = static_cast<std::ptrdiff_t>(shape.back());
        const auto count = static_cast<std::ptrdiff_t>(shape[shape.size() - 2]);
        const Vec values = vec(name);
        Mat rows;
        for (auto at = values.begin() + expert * count * cols; std::ssize(rows) < count; at += cols)
            rows.emplace_back(at, at + cols);
        return rows;
    }

    float sum(const float* terms, std::size_t n) const {
        float total = 0.0F;
        if (style_.order == Style::Order::halves && n > 1) return sum(terms, n / 2) + sum(terms + n / 2, n - n / 2);
        if (style_.order == Style::Order::backward) {
            for (std::size_t i = n; i > 0; --i) total += terms[i - 1];
        } else {
            for (std::size_t i = 0; i < n; ++i) total += terms[i];
        }
        return total;
    }
    float dot(const float* a, const float* b, std::size_t n) const {
        Vec terms(n);
        for (std::size_t i = 0; i < n; ++i) terms[i] = a[i] * b[i];
        return sum(terms.data(), n);
    }
    // Row-parallel over `ranks`: parts of the reduction, stored, then summed.
    Vec linear(const Vec& x, const Mat& w, int ranks) const {
        Vec y;
        for (const Vec& row : w) {
            Vec parts;
            for (int r = 0; r < ranks; ++r) {
                const std::size_t begin = x.size() * static_cast<std::size_t>(r) / static_cast<std::size_t>(ranks);
                const std::size_t end = x.size() * static_cast<std::size_t>(r + 1) / static_cast<std::size_t>(ranks);
                const float part = dot(x.data() + begin, row.data() + begin, end - begin);
                parts.push_back(ranks > 1 ? store(part) : part);
            }
            y.push_back(store(sum(parts.data(), parts.size())));
        }
        return y;
    }
    Vec norm(const Vec& x, const Vec& weight) const {
        Vec y(x.size());
        const std::size_t n = weight.size();
        for (std::size_t start = 0; start < x.size(); start += n) {
            const float mean = dot(&x[start], &x[start], n) / static_cast<float>(n);
            const float root = 1.0F / std::sqrt(mean + static_cast<float>(model_.config.rms_norm_eps));
            for (std::size_t i = 0; i < n; ++i) y[start + i] = store(eager(x[start + i] * root) * weight[i]);
        }
        return y;
    }
    Vec rotated(const Vec& x, std::int64_t position) const;
    Vec softmax(Vec scores) const {
        const float largest = *std::max_element(scores.begin(), scores.end());
        for (float& score : scores) score = std::exp(score - largest);
        const float total = sum(scores.data(), scores.size());
        for (float& score : scores) score = store(score / total);
        return scores;
    }
    void prepare(const GroupedQueryAttention& spec, std::int64_t layer, std::int64_t position, Vec& q, Vec& k) const;
    void prepare(const Llama4Attention& spec, std::int64_t layer, std::int64_t position, Vec& q, Vec& k) const;
    static std::size_t first_seen(const GroupedQueryAttention& spec, std::int64_t layer, std::size_t t);
    static std::size_t first_seen(const Llama4Attention& spec, std::int64_t layer, std::size_t t);
    Mat attention(std::int64_t layer, const Mat& x) const;
    // w1, w2 and w3 stand between the two.
    struct MlpName {
        std::string before;
        std::string after;
        std::int64_t expert = 0;
    };
    Vec swiglu(const Vec& x, const MlpName& mlp) const {
        const auto weight = [&](const char* word) { return matrix(mlp.before + word + mlp.after, mlp.expert); };
        const Vec gate = linear(x, weight("w1"), 1);
        const Vec up = linear(x, weight("w3"), 1);
        Vec hidden;
        for (std::size_t i = 0; i < gate.size(); ++i) {
            hidden.push_back(store(eager(gate[i] / (1.0F + std::exp(-gate[i]))) * up[i]));
        }
        return linear(hidden, weight("w2"), style_.ranks);
    }
    static Vec plus(const Vec& x, const Vec& y, const DenseBackend& self) {
        Vec z;
        for (std::size_t i = 0; i < x.size(); ++i) z.push_back(self.store(x[i] + y[i]));
        return z;
    }
    static std::string layer_prefix(std::int64_t layer) { return "layers." + std::to_string(layer) + "."; }
    Mat dense(std::int64_t layer, const Mat& x) const {
        const std::string p = layer_prefix(layer);
        Mat out;
        for (const Vec& row : x) {
            const Vec normed = norm(row, vec(p + "ffn_norm.weight"));
            out.push_back(plus(row, swiglu(normed, {p + "feed_forward.", ".weight"}), *this));
        }
        return out;
    }
    Mat moe(std::int64_t layer, const Mat& x, RankRecord& record) const;

    const TinyModel& model_;
    const Batch& batch_;
    Style style_;
    mutable std::map<std::string, Tensor> parameters_;
};

inline DenseBackend::Vec DenseBackend::rotated(const Vec& x, std::int64_t position) const {
    const std::int64_t head_dim = model_.config.heads().head_dim;
    const RopeSpec& rope = model_.config.rope();
    std::int64_t longest = 0;
    for (const Sequence& sequence : batch_.sequences) {
        longest = std::max(longest, static_cast<std::int64_t>(sequence.ids.size()));
    }
    // The one thing borrowed from the oracle: goldens judge it, and here only roundings are at stake.
    const auto [inverse, factor] = rope_frequencies(rope, head_dim, longest);
    Vec y(x.size());
    const auto half = static_cast<std::size_t>(head_dim / 2);
    const bool halves = rope.pairs == RopePairs::halves;
    for (std::size_t head = 0; head < x.size(); head += 2 * half) {
        for (std::size_t i = 0; i < half; ++i) {
            const std::size_t a = head + (halves ? i : 2 * i);
            const std::size_t b = halves ? a + half : a + 1;
            const double angle = static_cast<double>(position) * inverse[i];
            const auto cos = static_cast<float>(std::cos(angle) * factor);
            const auto sin = static_cast<float>(std::sin(angle) * factor);
            y[a] = store(x[a] * cos - x[b] * sin);
            y[b] = store(x[b] * cos + x[a] * sin);
        }
    }
    return y;
}

// What a layer does to its queries and keys, and how far back a token at `position` looks.
inline void DenseBackend::prepare(const GroupedQueryAttention& spec, std::int64_t layer, std::int64_t position, Vec& q,
                                  Vec& k) const {
    const std::string p = layer_prefix(layer);
    if (spec.qk_norm) {
        q = norm(q, vec(p + "attention.q_norm.weight"));
        k = norm(k, vec(p + "attention.k_norm.weight"));
    }
    q = rotated(q, position);
    k = rotated(k, position);
}
inline void DenseBackend::prepare(const Llama4Attention& spec, std::int64_t layer, std::int64_t position, Vec& q,
                                  Vec& k) const {
    const Vec ones(static_cast<std::size_t>(spec.head_dim), 1.0F);
    if (spec.has_rope(layer)) {
        q = rotated(q, position);
        k = rotated(k, position);
        if (spec.qk_norm) {
            q = norm(q, ones);
            k = norm(k, ones);
        }
    } else if (spec.temperature) {
        const float steps =
            std::floor(static_cast<float>(position + 1) / static_cast<float>(spec.temperature->floor_scale));
        const float factor = std::log1p(steps) * static_cast<float>(spec.temperature->attn_scale) + 1.0F;
        for (float& value : q) value = store(value * factor);
    }
}
inline std::size_t DenseBackend::first_seen(const GroupedQueryAttention& /*spec*/, std::int64_t /*layer*/,
                                            std::size_t /*t*/) {
    return 0;
}
inline std::size_t DenseBackend::first_seen(const Llama4Attention& spec, std::int64_t layer, std::size_t t) {
    const auto chunk = static_cast<std::size_t>(spec.chunk_size);
    return spec.is_chunked(layer) ? t / chunk * chunk : 0;
}

inline DenseBackend::Mat DenseBackend::attention(std::int64_t layer, const Mat& x) const {
    const std::string p = layer_prefix(layer);
    const Heads spec = model_.config.heads();
    const auto width = static_cast<std::size_t>(spec.head_dim);
    const auto group = static_cast<std::size_t>(spec.num_heads / spec.num_kv_heads);
    const float scale = 1.0F / std::sqrt(static_cast<float>(width));
    Mat out;
    std::size_t first = 0;
    for (const Sequence& sequence : batch_.sequences) {
        Mat keys, values;
        for (std::size_t t = 0; t < sequence.ids.size(); ++t) {
            const Vec normed = norm(x[first + t], vec(p + "attention_norm.weight"));
            Vec q = linear(normed, matrix(p + "attention.wq.weight"), 1);
            Vec k = linear(normed, matrix(p + "attention.wk.weight"), 1);
            std::size_t seen = 0;
            std::visit(
                [&](const auto& own) {
                    prepare(own, layer, static_cast<std::int64_t>(t), q, k);
                    seen = first_seen(own, layer, t);
                },
                model_.config.attention);
            keys.push_back(std::move(k));
            values.push_back(linear(normed, matrix(p + "attention.wv.weight"), 1));
            Vec heads;
            for (std::size_t h = 0; h < static_cast<std::size_t>(spec.num_heads); ++h) {
                const std::size_t kv = h / group * width;
                Vec scores;
                for (std::size_t j = seen; j <= t; ++j) {
                    scores.push_back(eager(eager(dot(&q[h * width], &keys[j][kv], width)) * scale));
                }
                const Vec probabilities = softmax(scores);
                for (std::size_t i = 0; i < width; ++i) {
                    Vec column;
                    for (std::size_t j = seen; j <= t; ++j) column.push_back(values[j][kv + i]);
                    heads.push_back(store(dot(probabilities.data(), column.data(), column.size())));
                }
            }
            out.push_back(plus(x[first + t], linear(heads, matrix(p + "attention.wo.weight"), style_.ranks), *this));
        }
        first += sequence.ids.size();
    }
    return out;
}

inline DenseBackend::Mat DenseBackend::moe(std::int64_t layer, const Mat& x, RankRecord& record) const {
    const std::string p = layer_prefix(layer);
    const RouterSpec& spec = model_.config.router;
    Mat out;
    for (const Vec& row : x) {
        const Vec normed = norm(row, vec(p + "ffn_norm.weight"));
        Vec scores;
        for (const float logit : linear(normed, matrix(p + "moe.router.gate.weight"), 1))
            scores.push_back(eager(logit));
        const Vec logits = scores;
        if (spec.score == ScoreFunction::softmax) {
            scores = softmax(scores);
        } else {
            for (float& score : scores) score = store(1.0F / (1.0F + std::exp(-score)));
        }
        std::vector<std::size_t> ids(scores.size());
        for (std::size_t e = 0; e < ids.size(); ++e) ids[e] = e;
        const Vec& choice = spec.choose_by == ChooseBy::logits ? logits : scores;
        std::stable_sort(ids.begin(), ids.end(), [&](std::size_t a, std::size_t b) { return choice[a] > choice[b]; });
        ids.resize(static_cast<std::size_t>(spec.top_k));
        Vec weights;
        for (const std::size_t id : ids) weights.push_back(scores[id]);
        const float total = sum(weights.data(), weights.size());
        Mat parts;
        for (std::size_t k = 0; k < ids.size(); ++k) {
            float& weight = weights[k];
            if (spec.norm_topk) weight /= total;
            weight = store(weight * static_cast<float>(spec.scale));
            record.expert_ids.emplace_back(static_cast<std::int64_t>(ids[k]));
            record.expert_weights.push_back(weight);
            Vec in = normed;
            if (spec.score_on == ScoreOn::input) {
                for (float& value : in) value = store(value * weight);
            }
            parts.push_back(swiglu(in, {p + "moe.experts.", "", static_cast<std::int64_t>(ids[k])}));
            if (spec.score_on == ScoreOn::output) {
                for (float& value : parts.back()) value = eager(value * weight);
            }
        }
        Vec combined;
        for (std::size_t i = 0; i < row.size(); ++i) {
            Vec terms;
            for (const Vec& part : parts) terms.push_back(part[i]);
            combined.push_back(store(sum(terms.data(), terms.size())));
        }
        if (model_.config.shared_intermediate_size > 0)
            combined = plus(combined, swiglu(normed, {p + "moe.shared_experts.", ".weight"}), *this);
        out.push_back(plus(row, combined, *this));
    }
    return out;
}

}  // namespace shardproof::oracle
