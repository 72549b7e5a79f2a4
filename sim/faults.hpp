// Faults: what can go wrong between a rank's program and its peers. Tests and mutants plant them; a run without them
// has all hooks empty.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "oracle/model/config.hpp"
#include "oracle/model/ids.hpp"
#include "oracle/model/result.hpp"
#include "sim/collective.hpp"
#include "sim/plan/dispatch_plan.hpp"
#include "sim/plan/load_plan.hpp"

namespace shardproof::sim {

struct RankState;

// A rank's routing of its tokens in one MoE layer.
struct Routing {
    std::int64_t top_k = 0;
    std::vector<ExpertId> expert_ids;  // [n,K] row-major, best first
    std::vector<float> weights;        // [n,K]
};

enum class Participation : std::uint8_t { joins, skips };

struct Faults {
    // Before a call is posted. May alter it; `skips` leaves the call out: the rank goes on with its buffers as they
    // are.
    std::function<Participation(Rank, CollectiveCall&)> on_call;
    // After routing, before it is recorded and dispatched.
    std::function<void(Rank, std::int64_t layer, Routing&)> on_routing;
    // Before rows are dispatched, after their routing was recorded: what dispatch and combine go by, where that is not
    // what the run says it chose.
    std::function<void(Rank, std::int64_t layer, const RouterSpec& router, Routing&)> on_experts;
    // The rows of an MLP block, dense or MoE, before they are summed over tp (where they are) and added to
    // state.hidden.
    std::function<void(const RankState& state, Rows& rows)> on_mlp_rows;
    // After the dispatch plan of a rank's tokens was made: `for_combine` is the plan that combine will use.
    std::function<void(Rank, std::int64_t layer, DispatchPlan& for_dispatch, DispatchPlan& for_combine)> on_dispatch;
    // After the load plan of one parameter shard was made.
    std::function<void(Rank, std::size_t param_idx, LoadPlan&)> on_load;
};

}  // namespace shardproof::sim
