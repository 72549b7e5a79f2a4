#include "sim/plan/dispatch_plan.hpp"

#include <algorithm>

#include "oracle/model/error.hpp"
#include "sim/plan/dim_runs.hpp"

namespace shardproof {
namespace {

const ParamPlan& routed_experts(const Plan& plan, std::int64_t layer) {
    const auto found = std::find_if(plan.params.begin(), plan.params.end(), [&](const ParamPlan& param) {
        return param.parameter.role == Role::expert_w1 && param.parameter.layer == layer;
    });
    SP_ASSERT(found != plan.params.end());
    return *found;
}

// Dim 0 as each coordinate of the ep axis holds it before FSDP cuts it. Experts on the dense mesh have one home.
std::vector<IndexRuns> experts_of_peers(const Plan& plan, const ParamPlan& param) {
    const std::int64_t num_experts = param.parameter.shape.at(0);
    if (param.placement.mesh == MeshKind::dense) return {{{0, num_experts}}};
    const Mesh& mesh = plan.mesh(param.placement.mesh);
    const std::size_t ep = mesh.axis_idx(Axis::ep);
    std::vector<Placement> placements(mesh.axes().size(), Replicate{});
    placements[ep] = param.placement.placements[ep];
    std::vector<IndexRuns> peers;
    std::vector<std::int64_t> coordinates(mesh.axes().size(), 0);
    for (; coordinates[ep] < mesh.axes()[ep].size; ++coordinates[ep]) {
        peers.push_back(stored_runs(mesh, placements, 0, num_experts, coordinates));
    }
    return peers;
}

}  // namespace

std::size_t ExpertMap::num_held() const {
    std::size_t count = 0;
    for (const std::vector<ExpertId>& of_peer : held) count += of_peer.size();
    return count;
}

bool dispatches_own_rows(const Plan& plan) {
    return std::any_of(plan.params.begin(), plan.params.end(), [](const ParamPlan& param) {
        return param.parameter.role == Role::expert_w1 && param.placement.mesh == MeshKind::sparse;
    });
}

ExpertMap expert_map(const Plan& plan, std::int64_t layer) {
    const ParamPlan& param = routed_experts(plan, layer);
    const std::vector<IndexRuns> peers = experts_of_peers(plan, param);
    constexpr std::int64_t kNowhere = -1;
    ExpertMap map;
    map.num_peers = static_cast<std::int64_t>(peers.size());
    map.home.assign(static_cast<std::size_t>(param.parameter.shape.at(0)), {kNowhere, LocalExpert{}});
    map.held.resize(peers.size());
    std::vector<std::vector<ExpertHome>> replicas(map.home.size());
    bool any_twice = false;
    for (std::size_t peer = 0; peer < peers.size(); ++peer) {
        for (const Run& run : peers[peer]) {
            for (std::int64_t e = run.begin; e < run.end; ++e) {
                ExpertHome& home = map.home.at(static_cast<std::size_t>(e));
                const ExpertHome here{static_cast<std::int64_t>(peer),
                                      LocalExpert{static_cast<std::int64_t>(map.held[peer].size())}};
                any_twice = any_twice || home.peer != kNowhere;
                if (home.peer == kNowhere) home = here;
                replicas[static_cast<std::size_t>(e)].push_back(here);
                map.held[peer].emplace_back(e);
            }
        }
    }
    for (const ExpertHome& home : map.home) SP_ASSERT(home.peer != kNowhere);
    if (any_twice) map.replicas = std::move(replicas);
    return map;
}

namespace {

// Where the experts that each peer holds begin in one list of them all, peer by peer.
std::vector<std::size_t> first_held(const ExpertMap& experts) {
    std::vector<std::size_t> first;
    std::size_t num_held = 0;
    for (const std::vector<ExpertId>& held : experts.held) {
        first.push_back(num_held);
        num_held += held.size();
    }
    return first;
}

// The place in that list that each choice goes to.
std::vector<std::size_t> places_of(const ExpertMap& experts, std::span<const ExpertId> expert_ids) {
    const std::vector<std::size_t> first = first_held(experts);
    std::vector<std::size_t> places;
    places.reserve(expert_ids.size());
    for (const ExpertId e : expert_ids) {
        SP_ASSERT(e.value() >= 0 && e.idx() < experts.home.size());
        const ExpertHome* home = &experts.home[e.idx()];
        if (!experts.replicas.empty()) {
            const std::vector<ExpertHome>& holders = experts.replicas[e.idx()];
            home = &holders[places.size() % holders.size()];
        }
        places.push_back(first[static_cast<std::size_t>(home->peer)] + home->local.idx());
    }
    return places;
}

}  // namespace

DispatchPlan plan_dispatch(const ExpertMap& experts, std::span<const ExpertId> expert_ids, std::int64_t top_k) {
    SP_ASSERT(top_k >= 1);
    SP_ASSERT(expert_ids.size() % static_cast<std::size_t>(top_k) == 0);
    const std::vector<std::size_t> places = places_of(experts, expert_ids);
    DispatchPlan plan;
    plan.top_k = top_k;
    plan.rows_to_peer.assign(static_cast<std::size_t>(experts.num_peers), 0);
    plan.rows_to_expert.assign(experts.home.size(), 0);
    for (const ExpertId e : expert_ids) ++plan.rows_to_expert[e.idx()];
    const std::size_t num_held = experts.num_held();
    plan.rows_to_held.assign(num_held, 0);
    for (const std::size_t place : places) ++plan.rows_to_held[place];

    // The first slot of each held expert, in the order of (peer, local expert).
    std::vector<std::int64_t> next_slot(num_held, 0);
    std::int64_t num_slots = 0;
    std::size_t place = 0;
    for (std::size_t peer = 0; peer < experts.held.size(); ++peer) {
        const std::int64_t first = num_slots;
        for (std::size_t local = 0; local < experts.held[peer].size(); ++local, ++place) {
            next_slot[place] = num_slots;
            num_slots += plan.rows_to_held[place];
        }
        plan.rows_to_peer[peer] = num_slots - first;
    }
    SP_ASSERT(num_slots == static_cast<std::int64_t>(expert_ids.size()));

    plan.slot_token.resize(expert_ids.size());
    plan.slot_choice.resize(expert_ids.size());
    plan.slot_of.resize(expert_ids.size());
    std::size_t flat = 0;
    for (std::int64_t token = 0; flat < expert_ids.size(); ++token) {
        for (std::int64_t k = 0; k < top_k; ++k, ++flat) {
            const std::int64_t slot = next_slot[places[flat]]++;
            plan.slot_of[flat] = slot;
            plan.slot_token[static_cast<std::size_t>(slot)] = token;
            plan.slot_choice[static_cast<std::size_t>(slot)] = k;
        }
    }
    return plan;
}

ArrivalPlan plan_arrival(std::span<const std::int64_t> counts, std::int64_t num_peers, std::int64_t num_local_experts) {
    SP_ASSERT(num_peers >= 0 && num_local_experts >= 0);
    const auto peers = static_cast<std::size_t>(num_peers);
    const auto locals = static_cast<std::size_t>(num_local_experts);
    SP_ASSERT(counts.size() == peers * locals);
    ArrivalPlan plan;
    plan.rows_from_peer.assign(peers, 0);
    plan.rows_of_expert.assign(locals, 0);
    std::vector<std::int64_t> first_row(counts.size());  // of each (peer, local expert), as the rows arrive
    std::int64_t num_rows = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        SP_ASSERT(counts[i] >= 0);
        first_row[i] = num_rows;
        num_rows += counts[i];
        plan.rows_from_peer[i / locals] += counts[i];
        plan.rows_of_expert[i % locals] += counts[i];
    }
    plan.arrival_row.reserve(static_cast<std::size_t>(num_rows));
    for (std::size_t local = 0; local < locals; ++local) {
        for (std::size_t peer = 0; peer < peers; ++peer) {
            const std::size_t cell = peer * locals + local;
            for (std::int64_t row = 0; row < counts[cell]; ++row) plan.arrival_row.push_back(first_row[cell] + row);
        }
    }
    return plan;
}

}  // namespace shardproof
