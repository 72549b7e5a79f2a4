#include "oracle/router.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "oracle/softmax.hpp"

namespace shardproof::oracle {

std::vector<std::int64_t> lowest_twins(const TensorView& gate) {
    const auto num_experts = static_cast<std::size_t>(gate.shape[0]);
    const std::size_t row = gate.bytes.size() / num_experts;
    const auto compare = [&](std::int64_t a, std::int64_t b) {
        return std::memcmp(gate.bytes.data() + static_cast<std::size_t>(a) * row,
                           gate.bytes.data() + static_cast<std::size_t>(b) * row, row);
    };
    std::vector<std::int64_t> sorted(num_experts);
    std::iota(sorted.begin(), sorted.end(), 0);
    std::sort(sorted.begin(), sorted.end(), [&](std::int64_t a, std::int64_t b) {
        const int order = compare(a, b);
        return order < 0 || (order == 0 && a < b);
    });
    std::vector<std::int64_t> lowest(num_experts);
    for (std::size_t i = 0; i < num_experts; ++i) {
        const bool twin = i > 0 && compare(sorted[i - 1], sorted[i]) == 0;
        const auto self = static_cast<std::size_t>(sorted[i]);
        lowest[self] = twin ? lowest[static_cast<std::size_t>(sorted[i - 1])] : sorted[i];
    }
    return lowest;
}

void tie_twins(const std::vector<std::int64_t>& lowest_twins, std::span<double> logits) {
    const std::size_t width = lowest_twins.size();
    for (std::size_t row = 0; row < logits.size(); row += width) {
        for (std::size_t e = 0; e < width; ++e)
            logits[row + e] = logits[row + static_cast<std::size_t>(lowest_twins[e])];
    }
}

void scores_of(const RouterSpec& spec, std::span<double> logits) {
    if (spec.score == ScoreFunction::sigmoid) {
        for (double& logit : logits) logit = 1.0 / (1.0 + std::exp(-logit));
    } else {
        softmax(logits);
    }
}

std::vector<std::int64_t> top_k(std::span<const double> scores, std::int64_t k) {
    std::vector<std::int64_t> ids(scores.size());
    std::iota(ids.begin(), ids.end(), 0);
    const auto better = [&](std::int64_t a, std::int64_t b) {
        const double score_a = scores[static_cast<std::size_t>(a)];
        const double score_b = scores[static_cast<std::size_t>(b)];
        return score_a > score_b || (score_a == score_b && a < b);
    };
    std::partial_sort(ids.begin(), ids.begin() + k, ids.end(), better);
    ids.resize(static_cast<std::size_t>(k));
    return ids;
}

std::vector<double> weights_of(const RouterSpec& spec, std::span<const double> scores,
                               std::span<const std::int64_t> ids) {
    std::vector<double> weights;
    double sum = 0.0;
    for (const std::int64_t id : ids) sum += weights.emplace_back(scores[static_cast<std::size_t>(id)]);
    for (double& weight : weights) weight = (spec.norm_topk ? weight / sum : weight) * spec.scale;
    return weights;
}

Routing route(const RouterSpec& spec, std::span<double> logits) {
    Routing routing;
    const auto width = static_cast<std::size_t>(spec.num_experts);
    for (std::size_t row = 0; row < logits.size(); row += width) {
        const std::span<double> token = logits.subspan(row, width);
        std::vector<std::int64_t> ids;
        if (spec.choose_by == ChooseBy::logits) ids = top_k(token, spec.top_k);
        scores_of(spec, token);
        if (spec.choose_by == ChooseBy::scores) ids = top_k(token, spec.top_k);
        const std::vector<double> weights = weights_of(spec, token, ids);
        routing.ids.insert(routing.ids.end(), ids.begin(), ids.end());
        routing.weights.insert(routing.weights.end(), weights.begin(), weights.end());
    }
    return routing;
}

}  // namespace shardproof::oracle
