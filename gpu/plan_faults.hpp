// PlanFaults: what can go wrong in the plans that a device runs, for tests and mutants. Empty hooks cost nothing; one
// that is set makes the host wait where it looks.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>

#include "sim/plan/dispatch_plan.hpp"
#include "sim/plan/load_plan.hpp"

namespace shardproof::gpu {

struct PlanFaults {
    // After the load plan of one parameter shard was made.
    std::function<void(Rank, std::size_t param_idx, LoadPlan&)> on_load;
    // After a rank's device planned the dispatch of its rows: `for_combine` is the plan that combine will use.
    std::function<void(Rank, std::int64_t layer, DispatchPlan& for_dispatch, DispatchPlan& for_combine)> on_dispatch;
};

}  // namespace shardproof::gpu
