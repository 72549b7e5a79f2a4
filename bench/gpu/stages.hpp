// The least that each stage of an MoE layer must move and compute, from its shape: what its time is compared with.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "bench/gpu/limits.hpp"

namespace shardproof::bench {

struct LayerShape {
    std::int64_t tokens = 0;      // T
    std::int64_t hidden = 0;      // D
    std::int64_t moe_hidden = 0;  // F
    std::int64_t experts = 0;     // E
    std::int64_t top_k = 0;       // K
};

struct StageCost {
    std::string name;             // as MoeLayer::on_stage says; the last one, "layer", is all of them
    double bytes = 0;             // read and written once, bf16
    double flops = 0;
    int launches = 0;             // kernels that it takes at least
    [[nodiscard]] double floor_seconds(const DeviceLimits& limits) const;
};
// `experts_hit`: experts that got a row; weights of the others need not be read.
[[nodiscard]] std::vector<StageCost> stage_costs(const LayerShape& shape, std::int64_t experts_hit);

}  // namespace shardproof::bench
