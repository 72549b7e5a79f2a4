// The router as a rank computes it: f32 throughout, whatever the arithmetic of the rest.
#pragma once
#include "oracle/model/config.hpp"
#include "sim/faults.hpp"
#include "sim/layers/ops.hpp"

namespace shardproof::sim {

// Scores of all experts, the K best of them (ties to the lowest id, best first), their weights. x [n,D], gate [E,D].
[[nodiscard]] Routing route(const RouterSpec& router, const Rows& x, const Weight& gate);

}  // namespace shardproof::sim
