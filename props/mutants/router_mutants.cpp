#include "props/mutants/router_mutants.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "oracle/model/tensor.hpp"

namespace shardproof::props::mutant {

namespace {

// The K ids and weights of one row.
struct Choices {
    std::span<ExpertId> ids;
    std::span<float> weights;
};

template <class Change>
void each_row(sim::Routing& routing, Change&& change) {
    const auto k = static_cast<std::size_t>(routing.top_k);
    for (std::size_t at = 0; at < routing.weights.size(); at += k)
        change(Choices{std::span{routing.expert_ids}.subspan(at, k), std::span{routing.weights}.subspan(at, k)});
}

// The router is wrong, and the run records what it chose.
template <class Change>
Planted with_router(Change change) {
    Planted planted;
    planted.faults.on_routing = [change](Rank rank, std::int64_t, sim::Routing& routing) {
        each_row(routing, [&](Choices choices) { change(rank, choices); });
    };
    return planted;
}

// The router is right, what is done with its answer is not.
template <class Change>
Planted behind_router(Change change) {
    Planted planted;
    planted.faults.on_experts = [change](Rank, std::int64_t, const RouterSpec& router, sim::Routing& routing) {
        each_row(routing, [&](Choices choices) { change(router, choices); });
    };
    return planted;
}

void multiply(std::span<float> weights, double factor) {
    for (float& weight : weights) weight *= static_cast<float>(factor);
}

}  // namespace

std::optional<Planted> term_without_weight(const Healthy&) {
    return behind_router([](const RouterSpec&, Choices choices) { choices.weights.front() = 1.0F; });
}

std::optional<Planted> scale_twice(const Healthy& healthy) {
    if (healthy.plan.config.router.scale == 1.0) return std::nullopt;
    return behind_router([](const RouterSpec& router, Choices choices) { multiply(choices.weights, router.scale); });
}

std::optional<Planted> scale_never(const Healthy& healthy) {
    if (healthy.plan.config.router.scale == 1.0) return std::nullopt;
    return behind_router([](const RouterSpec& router, Choices choices) {
        if (router.scale != 0) multiply(choices.weights, 1 / router.scale);
    });
}

std::optional<Planted> scale_not_where_normed(const Healthy& healthy) {
    if (!healthy.plan.config.router.norm_topk) return std::nullopt;
    return scale_never(healthy);
}

std::optional<Planted> softmax_after_top_k(const Healthy& healthy) {
    const RouterSpec& router = healthy.plan.config.router;
    const bool same = router.norm_topk || router.top_k == router.num_experts;
    if (same || router.score != ScoreFunction::softmax) return std::nullopt;
    return with_router([scale = static_cast<float>(router.scale)](Rank, Choices choices) {
        // Softmax over the chosen is their share of what softmax over all gives them.
        const float sum = std::accumulate(choices.weights.begin(), choices.weights.end(), 0.0F);
        if (sum == 0) return;
        for (float& weight : choices.weights) weight = weight / sum * scale;
    });
}

std::optional<Planted> ties_as_each_rank_likes(const Healthy& healthy) {
    const std::int64_t experts = healthy.plan.config.router.num_experts;
    if (healthy.c.model.routing != RoutingFlavour::exact_ties || experts == 1) return std::nullopt;
    return with_router([experts](Rank rank, Choices choices) {
        if (rank.value() % 2 == 0) return;
        for (ExpertId& id : choices.ids) {
            const ExpertId twin{id.value() | 1};  // experts 2i and 2i+1 score the same
            if (twin.value() < experts && std::ranges::find(choices.ids, twin) == choices.ids.end()) id = twin;
        }
    });
}

std::optional<Planted> router_in_bf16(const Healthy&) {
    return with_router([](Rank, Choices choices) {
        for (float& weight : choices.weights) weight = round_to_bf16(weight);
    });
}

std::optional<Planted> weight_through_a_bias(const Healthy&) {
    return with_router([](Rank, Choices choices) {
        constexpr float kBias = 32.0F;
        for (float& weight : choices.weights) weight = (weight + kBias) - kBias;
    });
}

std::optional<Planted> nan_row_chooses_one(const Healthy& healthy) {
    if (healthy.plan.config.router.top_k == 1) return std::nullopt;
    return with_router([](Rank, Choices choices) {
        if (std::isnan(choices.weights.front())) std::ranges::fill(choices.ids, ExpertId{0});
    });
}

}  // namespace shardproof::props::mutant
