// GatherPlan: what an FSDP gather of one parameter moves, and how the pieces join. A pure function of the plan.
#pragma once
#include <cstdint>
#include <vector>

#include "sim/plan/plan.hpp"

namespace shardproof {

// Members are the ranks of the fsdp (dense mesh) or efsdp (sparse mesh) group of a rank, in coordinate order. Piece m
// has extents[m] indices of dim `dim`; joined along it, in order, they are what tp and ep leave of the parameter.
struct GatherPlan {
    bool moves = false;                 // false: the rank's own shard is the whole already
    Axis axis{};                        // fsdp or efsdp
    std::size_t dim = 0;
    std::vector<std::int64_t> extents;  // one a member
    std::vector<std::int64_t> counts;   // elements of each member's piece
    Shape shape;                        // joined
};
[[nodiscard]] GatherPlan make_gather_plan(const Plan& plan, std::size_t param_idx, Rank rank);

}  // namespace shardproof
