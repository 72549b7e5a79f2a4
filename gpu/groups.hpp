// The groups that one rank belongs to.
#pragma once
#include <cstdint>
#include <vector>

#include "gpu/transport/collective.hpp"
#include "sim/plan/plan.hpp"

namespace shardproof::gpu {

struct RankGroups {
    RankGroup tp;     // dense mesh
    RankGroup fsdp;   // dense mesh
    RankGroup ep;     // sparse mesh
    RankGroup efsdp;  // sparse mesh
};
[[nodiscard]] RankGroups groups_of(const Plan& plan, Rank rank);

}  // namespace shardproof::gpu
