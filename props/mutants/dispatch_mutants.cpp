#include "props/mutants/dispatch_mutants.hpp"

#include <algorithm>
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
    std::vector<bool> idle;
    for (std::int64_t r = 0; r < healthy.plan.dims.world(); ++r)
        idle.push_back(sim::make_rank_state(healthy.plan, healthy.batch, Rank{r}).slice.size() == 0);
    if (std::ranges::find(idle, true) == idle.end()) return std::nullopt;
    Planted planted;
    planted.faults.on_call = [idle](Rank rank, sim::CollectiveCall& call) {
        const bool skips = call.kind == sim::CollectiveKind::all_to_all && idle[rank.idx()];
        return skips ? sim::Participation::skips : sim::Participation::joins;
    };
    return planted;
}

}  // namespace shardproof::props::mutant
