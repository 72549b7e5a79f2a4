#include "sim/layers/router.hpp"

#include <algorithm>
#include <cmath>

#include "oracle/model/error.hpp"

namespace shardproof::sim {

namespace {

void softmax(std::span<float> logits) {
    const float largest = *std::ranges::max_element(logits);
    float sum = 0.0F;
    for (float& logit : logits) {
        logit = std::exp(logit - largest);
        sum += logit;
    }
    for (float& logit : logits) logit /= sum;
}

void sigmoid(std::span<float> logits) {
    for (float& logit : logits) logit = 1.0F / (1.0F + std::exp(-logit));
}

// Inserts into a short sorted list: K is small, and the order of ids makes ties fall to the lowest.
void choose(std::span<const float> scores, std::int64_t top_k, ExpertId* ids, float* weights) {
    std::int64_t held = 0;
    for (std::size_t e = 0; e < scores.size(); ++e) {
        std::int64_t at = held;
        while (at > 0 && scores[e] > weights[at - 1]) --at;
        if (at == top_k) continue;
        held = std::min(held + 1, top_k);
        for (std::int64_t i = held - 1; i > at; --i) {
            weights[i] = weights[i - 1];
            ids[i] = ids[i - 1];
        }
        weights[at] = scores[e];
        ids[at] = ExpertId{static_cast<std::int64_t>(e)};
    }
}

}  // namespace

Routing route(const RouterSpec& router, const Rows& x, const Weight& gate) {
    SP_ASSERT(gate.shape.size() == 2 && gate.shape[0] == router.num_experts && gate.shape[1] == x.cols);
    const std::int64_t k = router.top_k;
    const auto choices = static_cast<std::size_t>(x.rows() * k);
    Routing routing{.top_k = k, .expert_ids = std::vector<ExpertId>(choices), .weights = std::vector<float>(choices)};
    Rows scores = make_rows(x.rows(), router.num_experts);
    linear(x.values.data(), x.rows(), x.cols, gate.all().data(), router.num_experts, scores.values.data());
    for (std::int64_t t = 0; t < x.rows(); ++t) {
        const std::span<float> row{scores.row(t), static_cast<std::size_t>(router.num_experts)};
        float* weights = routing.weights.data() + t * k;
        ExpertId* ids = routing.expert_ids.data() + t * k;
        if (router.choose_by == ChooseBy::logits) choose(row, k, ids, weights);
        router.score == ScoreFunction::softmax ? softmax(row) : sigmoid(row);
        if (router.choose_by == ChooseBy::scores) choose(row, k, ids, weights);
        for (std::int64_t i = 0; i < k; ++i) weights[i] = row[ids[i].idx()];
        if (router.norm_topk) {
            float sum = 0.0F;
            for (std::int64_t i = 0; i < k; ++i) sum += weights[i];
            for (std::int64_t i = 0; i < k; ++i) weights[i] /= sum;
        }
        if (router.scale != 1.0) {
            for (std::int64_t i = 0; i < k; ++i) weights[i] *= static_cast<float>(router.scale);
        }
    }
    return routing;
}

}  // namespace shardproof::sim
