// SharedPlans: pure functions of the plan that many ranks of a stage ask for, computed once. A gather over a group of n
// ranks is the same for all of them, and costs n to plan.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "sim/plan/dispatch_plan.hpp"
#include "sim/plan/gather_plan.hpp"

namespace shardproof::sim {

class SharedPlans {
public:
    // `plan` outlives it and does not change.
    explicit SharedPlans(const Plan& plan) : plan_{&plan} {}

    // make_gather_plan(plan, param_idx, rank). Valid until clear().
    [[nodiscard]] const GatherPlan& gather(std::size_t param_idx, Rank rank);
    // expert_map(plan, layer). Valid until clear().
    [[nodiscard]] const ExpertMap& experts(std::int64_t layer);
    void clear();

private:
    const Plan* plan_;
    std::map<std::pair<std::size_t, std::int64_t>, GatherPlan> gathers_;  // by parameter and first rank of the group
    std::map<std::int64_t, ExpertMap> experts_;
};

}  // namespace shardproof::sim
