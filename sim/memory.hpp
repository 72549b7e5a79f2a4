// RankMemory: the parameter shards that one virtual rank holds of one stage, loaded by byte range into poisoned
// buffers.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "oracle/model/checkpoint.hpp"
#include "sim/faults.hpp"
#include "sim/plan/load_plan.hpp"
#include "sim/plan/plan.hpp"

namespace shardproof::sim {

struct HeldParam {
    std::size_t param_idx = 0;      // into Plan::params
    Shape shape;                    // local
    std::vector<std::byte> bytes;   // checkpoint dtype, storage order
};

struct LoadReport {
    std::int64_t bytes_planned = 0;
    std::int64_t bytes_read = 0;
    std::int64_t poison_left = 0;   // elements that no copy wrote
    LoadReport& operator+=(const LoadReport& other);
};

// Loads one parameter shard. The buffer is filled with a NaN pattern first; where the pattern is found afterwards the
// load is repeated over another pattern, and an element that shows both was never written.
[[nodiscard]] HeldParam load_param(const Plan& plan, const Checkpoint& checkpoint, std::size_t param_idx, Rank rank,
                                   const Faults* faults, LoadReport& report);

// Bytes of all ranks' shards of the largest stage: what a run holds at once.
[[nodiscard]] std::int64_t stage_bytes_max(const Plan& plan);

}  // namespace shardproof::sim
