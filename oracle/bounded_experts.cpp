#include "oracle/bounded_experts.hpp"

#include <algorithm>
#include <cmath>

#include "oracle/bounded_softmax.hpp"
#include "oracle/experts.hpp"

namespace shardproof::oracle {
namespace {

void bounded_sigmoid(double& logit, double& error) {
    const double s = sigmoid(logit);
    // |sigmoid''| < 0.1 and |sigmoid'| <= 1/4 everywhere.
    const double slope = std::min(0.25, s * (1.0 - s) + 0.1 * error);
    error = slope * error;
    error += Roundoff::gamma(7) * (s + error) + kTiny;
    logit = s;
}

// How far p / (p + rest) may lie from itself when p and rest are off: it grows with p and falls with rest.
double share_error(double p, double p_off, double rest, double rest_off) {
    const auto share = [](double part, double others) { return part + others > 0.0 ? part / (part + others) : 1.0; };
    const double at = share(p, rest);
    const double low_part = std::max(p - p_off, 0.0);
    const double low = low_part > 0.0 ? share(low_part, rest + rest_off) : 0.0;
    return std::max(share(p + p_off, std::max(rest - rest_off, 0.0)) - at, at - low);
}

}  // namespace

ScoreBounds bounded_scores(const RouterSpec& spec, Bounded logits, const Roundoff& roundoff) {
    ScoreBounds bounds{std::move(logits), {}};
    Bounded& scores = bounds.scores;
    const auto width = static_cast<std::size_t>(spec.num_experts);
    bounds.common.assign(static_cast<std::size_t>(scores.value.rows()), 0.0);
    for (Index row = 0; row < scores.value.rows(); ++row) {
        double* value = &scores.value(row, 0);
        double* error = &scores.error(row, 0);
        if (spec.score == ScoreFunction::softmax) {
            bounds.common[static_cast<std::size_t>(row)] = bounded_softmax({value, width}, {error, width});
        } else {
            for (std::size_t e = 0; e < width; ++e) bounded_sigmoid(value[e], error[e]);
        }
        for (std::size_t e = 0; e < width; ++e) error[e] += roundoff.store() * (value[e] + error[e]);
    }
    return bounds;
}

Bounded bounded_weights(const RouterSpec& spec, const ScoreBounds& bounds, std::span<const std::int64_t> ids,
                        const Roundoff& roundoff) {
    const Bounded& scores = bounds.scores;
    const Index k = spec.top_k;
    Bounded weights{Matrix(scores.value.rows(), k), Matrix(scores.value.rows(), k)};
    for (Index row = 0; row < scores.value.rows(); ++row) {
        const std::span<const std::int64_t> chosen =
            ids.subspan(static_cast<std::size_t>(row * k), static_cast<std::size_t>(k));
        double sum = 0.0;
        double sum_off = 0.0;
        for (const std::int64_t id : chosen) {
            sum += scores.value(row, id);
            sum_off += scores.error(row, id);
        }
        for (Index i = 0; i < k; ++i) {
            const std::int64_t id = chosen[static_cast<std::size_t>(i)];
            const double p = scores.value(row, id);
            const double own = scores.error(row, id);
            double& value = weights.value(row, i);
            double& error = weights.error(row, i);
            if (spec.norm_topk) {
                value = p / sum;
                error = share_error(p, own, sum - p, sum_off - own);
                error += Roundoff::gamma(k + 1) * (value + error) + kTiny;
            } else {
                value = p;
                error = std::min(own + bounds.common[static_cast<std::size_t>(row)] * (p + own), 1.0);
            }
            value *= spec.scale;
            error *= std::abs(spec.scale);
            if (spec.scale != 1.0) error += Roundoff::gamma(2) * (std::abs(value) + error) + kTiny;
        }
    }
    roundoff.round_stored(weights);
    return weights;
}

Bounded bounded_swiglu(const Bounded& x, const MlpWeights& weights, const Roundoff& roundoff, LinearNotes notes) {
    const Bounded gate = linear(x, weights.gate, roundoff);
    const Bounded up = linear(x, weights.up, roundoff);
    return linear(silu_times(gate, up, roundoff), weights.down, roundoff, notes);
}

Bounded bounded_experts(const RouterSpec& spec, const Bounded& x, const std::vector<std::int64_t>& ids,
                        const Bounded& weights, const std::function<MlpWeights(std::int64_t)>& expert,
                        const Roundoff& roundoff) {
    Bounded sum{Matrix::Zero(x.value.rows(), x.value.cols()), Matrix::Zero(x.value.rows(), x.value.cols())};
    const auto slots = slots_by_expert(ids, spec.num_experts);
    // A rank may weigh and add up its part of several experts' outputs before ranks add their parts: product and sum
    // over experts belong to the reduction of the down projection, with one store of a part and one of a product.
    const LinearNotes notes{.extra_terms = spec.top_k + 2, .partial_roundings = 2};
    const bool on_input = spec.score_on == ScoreOn::input;
    for (std::int64_t e = 0; e < spec.num_experts; ++e) {
        const std::vector<std::int64_t>& mine = slots[static_cast<std::size_t>(e)];
        if (mine.empty()) continue;
        const auto rows = static_cast<Index>(mine.size());
        Bounded in{Matrix(rows, x.value.cols()), Matrix(rows, x.value.cols())};
        for (Index r = 0; r < rows; ++r) {
            const Index slot = mine[static_cast<std::size_t>(r)];
            in.value.row(r) = x.value.row(slot / spec.top_k);
            in.error.row(r) = x.error.row(slot / spec.top_k);
            if (!on_input) continue;
            const double w = weights.value.data()[slot];
            const double w_off = weights.error.data()[slot];
            in.error.row(r) = (std::abs(w) + w_off) * in.error.row(r) + w_off * in.value.row(r).cwiseAbs();
            in.value.row(r) *= w;
        }
        if (on_input) {
            add_relative(in, Roundoff::unit());
            roundoff.round_stored(in);
        }
        const Bounded out = bounded_swiglu(in, expert(e), roundoff, notes);
        for (Index r = 0; r < rows; ++r) {
            const Index slot = mine[static_cast<std::size_t>(r)];
            const double w = on_input ? 1.0 : weights.value.data()[slot];
            const double w_off = on_input ? 0.0 : weights.error.data()[slot];
            sum.value.row(slot / spec.top_k) += w * out.value.row(r);
            sum.error.row(slot / spec.top_k) +=
                (std::abs(w) + w_off) * out.error.row(r) + w_off * out.value.row(r).cwiseAbs();
        }
    }
    add_relative(sum, 0.0);
    roundoff.round_stored(sum);
    return sum;
}

}  // namespace shardproof::oracle
