// Lets a fault alter the dispatch plan that a device computed: reads it back, lets the hook at it, puts it there again.
#pragma once
#include "gpu/moe_layer.hpp"
#include "gpu/plan_faults.hpp"

namespace shardproof::gpu {

// The device's plan of `work` as the pure function would have told it. Copies from the device; the stream was waited
// for.
[[nodiscard]] DispatchPlan read_dispatch(const RankWork& work, const ExpertMap& experts, std::int64_t top_k);
void plant_dispatch_fault(const PlanFaults& faults, RankWork& work, const ExpertMap& experts, std::int64_t top_k,
                          std::int64_t layer);

}  // namespace shardproof::gpu
