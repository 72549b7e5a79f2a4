#include "props/laws/router_laws.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

namespace shardproof::props::router {

namespace {

struct Choices {
    std::span<const ExpertId> ids;
    std::span<const float> weights;
};

// Calls judge(choices) for every recorded row; the first message, with its place. Nothing to look at without a row.
template <class JudgeRow>
std::optional<std::string> each_row(Subject& subject, JudgeRow&& judge_row) {
    const auto k = static_cast<std::size_t>(subject.model().config.router.top_k);
    bool any_row = false;
    for (const StageRecord& stage : subject.report().result->stages) {
        for (std::size_t r = 0; r < stage.ranks.size(); ++r) {
            const RankRecord& record = stage.ranks[r];
            if (record.expert_ids.size() % k != 0 || record.expert_ids.size() != record.expert_weights.size())
                return fmt::format("rank {} records {} ids and {} weights", r, record.expert_ids.size(),
                                   record.expert_weights.size());
            for (std::size_t row = 0; row * k < record.expert_ids.size(); ++row) {
                any_row = true;
                const Choices choices{std::span{record.expert_ids}.subspan(row * k, k),
                                      std::span{record.expert_weights}.subspan(row * k, k)};
                if (auto why = judge_row(choices))
                    return fmt::format("{}, rank {}, row {}: {}", name_of(stage.kind, stage.layer), r, row, *why);
            }
        }
    }
    return any_row ? std::nullopt : subject.nothing_to_look_at();
}

}  // namespace

std::optional<std::string> choices_are_sound(Subject& subject) {
    const RouterSpec& router = subject.model().config.router;
    return each_row(subject, [&](const Choices& choices) -> std::optional<std::string> {
        double sum = 0;
        for (std::size_t i = 0; i < choices.ids.size(); ++i) {
            const ExpertId id = choices.ids[i];
            if (id.value() < 0 || id.value() >= router.num_experts)
                return fmt::format("id {} is no expert", id.value());
            if (std::ranges::count(choices.ids, id) != 1) return fmt::format("id {} is chosen twice", id.value());
            if (router.scale == 0) continue;
            const double share = static_cast<double>(choices.weights[i]) / router.scale;
            if (!(share >= 0)) return fmt::format("weight {} is not at least 0", share);
            if (i > 0 && !(share <= static_cast<double>(choices.weights[i - 1]) / router.scale))
                return "the best is not first";
            sum += share;
        }
        if (router.scale == 0) return std::nullopt;
        // Each weight is rounded once and their sum once a term.
        const double slack = 0x1p-22 * static_cast<double>(router.top_k + router.num_experts);
        const double most = router.score == ScoreFunction::softmax ? 1 : static_cast<double>(router.top_k);
        const bool good = router.norm_topk ? std::abs(sum - 1) <= slack : sum <= most + slack;
        if (!good) return fmt::format("the weights sum to {}", sum);
        return std::nullopt;
    });
}

std::optional<std::string> ties_to_the_lowest(Subject& subject) {
    const bool tied =
        subject.c().model.routing == RoutingFlavour::exact_ties && subject.model().config.router.num_experts > 1;
    if (!tied) return subject.nothing_to_look_at();
    return each_row(subject, [](const Choices& choices) -> std::optional<std::string> {
        for (std::size_t i = 0; i < choices.ids.size(); ++i) {
            const std::int64_t id = choices.ids[i].value();
            if (id % 2 == 0) continue;  // the lower of its pair
            if (i == 0 || choices.ids[i - 1].value() != id - 1 || choices.weights[i - 1] != choices.weights[i])
                return fmt::format("expert {} is chosen without its equal {} before it", id, id - 1);
        }
        return std::nullopt;
    });
}

}  // namespace shardproof::props::router
