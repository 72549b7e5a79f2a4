#include "props/mutants/dispatch_mutants.hpp"

#include <algorithm>
#include <memory>
#include <numeric>

#include "sim/rank_state.hpp"

namespace shardproof::props::mutant {

std::optional<Planted> combine_in_dispatched_order(const Healthy& healthy) {
    if (healthy.batch.num_tokens() == 0) return std::nullopt;
    Planted planted;
    planted.faults.on_dispatch = [](Rank, std::int64_t, DispatchPlan&, DispatchPlan& for_combine) {
        std::iota(for_combine.slot_of.begin(), for_combine.slot_of.end(), std::int64_t{0});
    };
    return planted;
}

std::optional<Planted> idle_rank_skips_exchange(const Healthy& healthy) {
    if (healthy.plan.dims.ep() == 1) return std::nullopt;
    auto idle = std::make_shared<std::vector<bool>>();
    for (std::int64_t r = 0; r < healthy.plan.dims.world(); ++r)
        idle->push_back(sim::make_rank_state(healthy.plan, healthy.batch, Rank{r}).slice.size() == 0);
    if (std::ranges::find(*idle, true) == idle->end()) return std::nullopt;
    Planted planted;
    // Another batch has other idle ranks.
    planted.faults.on_experts = [idle](Rank rank, std::int64_t, const RouterSpec&, sim::Routing& routing) {
        (*idle)[rank.idx()] = routing.expert_ids.empty();
    };
    planted.faults.on_call = [idle](Rank rank, sim::CollectiveCall& call) {
        const bool skips = call.kind == sim::CollectiveKind::all_to_all && (*idle)[rank.idx()];
        return skips ? sim::Participation::skips : sim::Participation::joins;
    };
    return planted;
}

std::optional<Planted> empty_sender_skips(const Healthy& healthy) {
    if (healthy.plan.dims.ep() == 1) return std::nullopt;
    Planted planted;
    planted.faults.on_call = [](Rank, sim::CollectiveCall& call) {
        const bool carries_rows = call.what == "dispatch" || call.what == "combine";
        return carries_rows && call.send.empty() ? sim::Participation::skips : sim::Participation::joins;
    };
    return planted;
}

namespace {

using OnExperts = std::function<void(Rank, std::int64_t layer, const RouterSpec& router, sim::Routing&)>;

Planted with_experts(OnExperts on_experts) {
    Planted planted;
    planted.faults.on_experts = std::move(on_experts);
    return planted;
}

// The K choices of every row turned round, so that their sum has other bits.
void turn_choices(sim::Routing& routing) {
    const auto k = static_cast<std::ptrdiff_t>(routing.top_k);
    for (std::ptrdiff_t at = 0; at < std::ssize(routing.expert_ids); at += k) {
        std::reverse(routing.expert_ids.begin() + at, routing.expert_ids.begin() + at + k);
        std::reverse(routing.weights.begin() + at, routing.weights.begin() + at + k);
    }
}

// Two addends have one sum.
bool order_shows(const Healthy& healthy) {
    return healthy.plan.config.router.top_k > 2 && healthy.batch.num_tokens() > 0;
}

}  // namespace

std::optional<Planted> owner_by_floor(const Healthy& healthy) {
    const Plan& plan = healthy.plan;
    const std::int64_t ep = plan.dims.ep();
    const std::int64_t experts = plan.config.router.num_experts;
    if (ep == 1 || experts % ep == 0) return std::nullopt;
    return with_experts(
        [&plan, each = experts / ep, ep](Rank, std::int64_t layer, const RouterSpec&, sim::Routing& routing) {
            const ExpertMap map = expert_map(plan, layer);
            for (ExpertId& id : routing.expert_ids) {
                const std::int64_t owner = std::min(id.value() / each, ep - 1);
                const std::vector<ExpertId>& held = map.held[static_cast<std::size_t>(owner)];
                const auto local = static_cast<std::size_t>(id.value() - owner * each);
                if (!held.empty()) id = held[std::min(local, held.size() - 1)];
            }
        });
}

std::optional<Planted> replica_by_own_index(const Healthy& healthy) {
    const Plan& plan = healthy.plan;
    const std::optional<std::int64_t> first = plan.config.first_moe_layer();
    if (plan.dims.ep() == 1 || !first) return std::nullopt;
    const bool any_twice = !expert_map(plan, *first).replicas.empty();
    if (plan.dims.efsdp() == 1 && !any_twice) return std::nullopt;
    // Holder c works on an expert where the one it picks, c plus the expert's id, is itself: all of them, or none.
    return with_experts([&plan](Rank, std::int64_t layer, const RouterSpec&, sim::Routing& routing) {
        const ExpertMap map = expert_map(plan, layer);
        for (std::size_t i = 0; i < routing.expert_ids.size(); ++i) {
            const ExpertId id = routing.expert_ids[i];
            const std::int64_t slots = map.replicas.empty() ? 1 : std::ssize(map.replicas[id.idx()]);
            const std::int64_t holders = slots * plan.dims.efsdp();
            routing.weights[i] *= id.value() % holders == 0 ? static_cast<float>(holders) : 0.0F;
        }
    });
}

std::optional<Planted> masked_with_expert_zero(const Healthy& healthy) {
    const Plan& plan = healthy.plan;
    if (plan.dims.ep() == 1) return std::nullopt;
    return with_experts([&plan](Rank rank, std::int64_t layer, const RouterSpec&, sim::Routing& routing) {
        const ExpertMap map = expert_map(plan, layer);
        const std::int64_t mine = plan.meshes.sparse.coordinate(rank, Axis::ep);
        for (ExpertId& id : routing.expert_ids) {
            if (map.home[id.idx()].peer != mine) id = ExpertId{0};
        }
    });
}

std::optional<Planted> counts_summed_in_place(const Healthy& healthy) {
    if (healthy.plan.dims.ep() == 1 || healthy.batch.num_tokens() == 0) return std::nullopt;
    Planted planted;
    planted.faults.on_dispatch = [counter = std::make_shared<std::vector<std::int64_t>>()](
                                     Rank, std::int64_t, DispatchPlan& dispatch, DispatchPlan&) {
        counter->resize(dispatch.rows_to_peer.size(), 0);
        for (std::size_t peer = 0; peer < counter->size(); ++peer) (*counter)[peer] += dispatch.rows_to_peer[peer];
        dispatch.rows_to_peer = *counter;
    };
    return planted;
}

std::optional<Planted> sum_in_order_of_arrival(const Healthy& healthy) {
    if (!order_shows(healthy)) return std::nullopt;
    return with_experts(
        [came = std::make_shared<std::int64_t>(0)](Rank, std::int64_t, const RouterSpec&, sim::Routing& routing) {
            if ((*came)++ % 2 != 0) turn_choices(routing);
        });
}

std::optional<Planted> sum_by_batch_size(const Healthy& healthy) {
    if (!order_shows(healthy)) return std::nullopt;
    return with_experts([](Rank, std::int64_t, const RouterSpec&, sim::Routing& routing) {
        if (static_cast<std::int64_t>(routing.weights.size()) / routing.top_k % 2 == 0) turn_choices(routing);
    });
}

}  // namespace shardproof::props::mutant
