// What a plan of many ranks takes, before it is made.
#pragma once
#include <cstdint>

#include "sim/plan/mesh.hpp"

namespace shardproof::reports {

// Bytes that printing a plan over these meshes holds at once, at most: all named groups, and the bytes of each rank.
[[nodiscard]] std::uint64_t plan_bytes(const Meshes& meshes);

}  // namespace shardproof::reports
