// Coverage of a parameter whose shards are given rank by rank.
#pragma once
#include <string>
#include <vector>

#include "sim/plan/plan.hpp"

namespace shardproof {

// `param` has explicit shards, with runs inside its shape. Every element is to be held, by each rank once at most, and
// all by the same number of ranks. Names boxes of elements that are not, the first few of them, and who holds them.
[[nodiscard]] std::vector<CoverageFault> shard_faults(const ParamPlan& param);

// "[10:12][0:40][0:64]", runs of one dim joined by "+"; "nothing" where a dim has none.
[[nodiscard]] std::string printed_index(const std::vector<IndexRuns>& index);

}  // namespace shardproof
