// The groups that one rank belongs to, and how rows are dealt over a tp group.
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

// Rows of each member of a group of `num_members` when `num_rows` are dealt in order.
[[nodiscard]] std::vector<std::int64_t> slices_of(std::int64_t num_rows, std::size_t num_members);

}  // namespace shardproof::gpu
