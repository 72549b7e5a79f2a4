#include "props/laws/dispatch_laws.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace shardproof::props::dispatch {

namespace {

// The ranks that exchange rows: an ep group, or a rank alone.
std::vector<std::vector<Rank>> exchange_groups(const Plan& plan) {
    if (dispatches_own_rows(plan)) {
        constexpr Axis axis = Axis::ep;
        return plan.meshes.sparse.groups(std::span{&axis, 1});
    }
    std::vector<std::vector<Rank>> alone;
    for (std::int64_t r = 0; r < plan.dims.world(); ++r) alone.push_back({Rank{r}});
    return alone;
}

// Rows of each expert of member `to` that each member of the group announces, [members, local experts].
std::vector<std::int64_t> announced_to(const LayerDispatch& layer, const std::vector<Rank>& group, std::size_t to) {
    std::vector<std::int64_t> counts;
    std::size_t first = 0;
    for (std::size_t peer = 0; peer < to; ++peer) first += layer.experts.held[peer].size();
    for (const Rank from : group) {
        for (std::size_t local = 0; local < layer.experts.held[to].size(); ++local)
            counts.push_back(layer.ranks[from.idx()].dispatch.rows_to_held[first + local]);
    }
    return counts;
}

ArrivalPlan arrival_at(const LayerDispatch& layer, const std::vector<Rank>& group, std::size_t to) {
    return plan_arrival(announced_to(layer, group, to), static_cast<std::int64_t>(group.size()),
                        static_cast<std::int64_t>(layer.experts.held[to].size()));
}

std::optional<std::string> group_counts_agree(const LayerDispatch& layer, const std::vector<Rank>& group) {
    for (std::size_t to = 0; to < group.size(); ++to) {
        const ArrivalPlan arrival = arrival_at(layer, group, to);
        for (std::size_t from = 0; from < group.size(); ++from) {
            const std::int64_t sent = layer.ranks[group[from].idx()].dispatch.rows_to_peer[to];
            if (sent != arrival.rows_from_peer[from])
                return fmt::format("layer {}: rank {} sends {} rows to rank {}, which expects {}", layer.layer,
                                   group[from].value(), sent, group[to].value(), arrival.rows_from_peer[from]);
        }
    }
    return std::nullopt;
}

struct Tag {
    std::size_t rank = 0;
    std::int64_t token = -1;
    std::int64_t choice = -1;
    bool operator==(const Tag&) const = default;
};

using Boxes = std::vector<std::vector<Tag>>;  // one a member of the group

// Slots in order, split by peer: what member `from` puts on the wire for each member.
Boxes sent_by(const LayerDispatch& layer, const std::vector<Rank>& group, std::size_t from) {
    const DispatchPlan& plan = layer.ranks[group[from].idx()].dispatch;
    Boxes boxes(group.size());
    std::size_t slot = 0;
    for (std::size_t to = 0; to < group.size(); ++to) {
        for (std::int64_t i = 0; i < plan.rows_to_peer[to]; ++i, ++slot)
            boxes[to].push_back({group[from].idx(), plan.slot_token.at(slot), plan.slot_choice.at(slot)});
    }
    return boxes;
}

// What arrived at member `to`, seen by its experts in their order, and laid out again for the way back.
std::optional<std::string> visit_experts(const LayerDispatch& layer, const std::vector<Rank>& group, std::size_t to,
                                         std::vector<Tag>& rows) {
    const ArrivalPlan arrival = arrival_at(layer, group, to);
    if (arrival.arrival_row.size() != rows.size())
        return fmt::format("layer {}: {} rows reach rank {}, which expects {}", layer.layer, rows.size(),
                           group[to].value(), arrival.arrival_row.size());
    std::vector<Tag> back(rows.size());
    std::size_t position = 0;
    for (std::size_t local = 0; local < arrival.rows_of_expert.size(); ++local) {
        for (std::int64_t i = 0; i < arrival.rows_of_expert[local]; ++i, ++position) {
            const auto row = static_cast<std::size_t>(arrival.arrival_row[position]);
            const Tag& tag = rows.at(row);
            const sim::Routing& routing = layer.ranks[tag.rank].routing;
            const ExpertId meant =
                routing.expert_ids.at(static_cast<std::size_t>(tag.token * routing.top_k + tag.choice));
            if (meant != layer.experts.held[to][local])
                return fmt::format("layer {}: token row {} of rank {} meant for expert {} reaches expert {}",
                                   layer.layer, tag.token, tag.rank, meant.value(),
                                   layer.experts.held[to][local].value());
            back.at(row) = tag;
        }
    }
    rows = std::move(back);
    return std::nullopt;
}

std::optional<std::string> group_inverts(const LayerDispatch& layer, const std::vector<Rank>& group) {
    std::vector<Boxes> sent;
    for (std::size_t from = 0; from < group.size(); ++from) sent.push_back(sent_by(layer, group, from));
    std::vector<std::vector<Tag>> returned(group.size());  // by member, peer after peer
    for (std::size_t to = 0; to < group.size(); ++to) {
        std::vector<Tag> rows;
        for (const Boxes& boxes : sent) rows.insert(rows.end(), boxes[to].begin(), boxes[to].end());
        if (auto message = visit_experts(layer, group, to, rows)) return message;
        std::size_t at = 0;
        for (std::size_t from = 0; from < group.size(); ++from) {
            for (std::size_t i = 0; i < sent[from][to].size(); ++i) returned[from].push_back(rows[at++]);
        }
    }
    for (std::size_t me = 0; me < group.size(); ++me) {
        const DispatchPlan& combine = layer.ranks[group[me].idx()].combine;
        for (std::size_t i = 0; i < combine.slot_of.size(); ++i) {
            const Tag want{group[me].idx(), static_cast<std::int64_t>(i) / combine.top_k,
                           static_cast<std::int64_t>(i) % combine.top_k};
            const Tag got = returned[me].at(static_cast<std::size_t>(combine.slot_of[i]));
            if (got != want)
                return fmt::format("layer {}: rank {} takes token row {} choice {} for token row {} choice {}",
                                   layer.layer, want.rank, got.token, got.choice, want.token, want.choice);
        }
    }
    return std::nullopt;
}

}  // namespace

bool any_row_dispatched(Subject& subject) {
    return std::ranges::any_of(subject.dispatches(), [](const LayerDispatch& layer) {
        return std::ranges::any_of(layer.ranks,
                                   [](const RankDispatch& rank) { return !rank.routing.expert_ids.empty(); });
    });
}

std::optional<std::string> counts_agree(Subject& subject) {
    const Plan& plan = subject.plan();
    // Where nothing is dispatched and there is no sequence parallelism every tp rank works on all rows of its group.
    const bool all_rows = !dispatches_own_rows(plan) && !(plan.dims.sequence_parallel() && plan.dims.tp() > 1);
    const std::int64_t times = all_rows ? plan.dims.tp() : 1;
    for (const LayerDispatch& layer : subject.dispatches()) {
        std::int64_t rows = 0;
        for (const RankDispatch& rank : layer.ranks) {
            const DispatchPlan& d = rank.dispatch;
            rows += std::accumulate(d.rows_to_held.begin(), d.rows_to_held.end(), std::int64_t{0});
        }
        const std::int64_t want = subject.batch().num_tokens() * plan.config.router.top_k * times;
        if (rows != want)
            return fmt::format("layer {}: {} rows are dispatched, tokens * top_k is {}", layer.layer, rows, want);
        for (const std::vector<Rank>& group : exchange_groups(plan)) {
            if (auto message = group_counts_agree(layer, group)) return message;
        }
    }
    return any_row_dispatched(subject) ? std::nullopt : subject.nothing_to_look_at();
}

std::optional<std::string> combine_inverts_dispatch(Subject& subject) {
    for (const LayerDispatch& layer : subject.dispatches()) {
        for (const std::vector<Rank>& group : exchange_groups(subject.plan())) {
            if (auto message = group_inverts(layer, group)) return message;
        }
    }
    return any_row_dispatched(subject) ? std::nullopt : subject.nothing_to_look_at();
}

}  // namespace shardproof::props::dispatch
