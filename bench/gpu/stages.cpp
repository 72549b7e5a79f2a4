#include "bench/gpu/stages.hpp"

#include <algorithm>

namespace shardproof::bench {

double StageCost::floor_seconds(const DeviceLimits& limits) const {
    return std::max(
        {bytes / limits.copy_bytes_per_second, flops / limits.bf16_flops_per_second, launches * limits.launch_seconds});
}

std::vector<StageCost> stage_costs(const LayerShape& shape, std::int64_t experts_hit) {
    constexpr double kWide = 2;  // bytes of a bf16
    const auto t = static_cast<double>(shape.tokens);
    const auto d = static_cast<double>(shape.hidden);
    const auto f = static_cast<double>(shape.moe_hidden);
    const auto e = static_cast<double>(shape.experts);
    const auto k = static_cast<double>(shape.top_k);
    const double rows = t * k;
    const auto hit = static_cast<double>(experts_hit);
    std::vector<StageCost> stages{
        {"norm", kWide * 2 * t * d, 0, 1},
        {"router", kWide * (t * d + e * d) + 2 * 4 * t * e + 8 * rows, 2 * t * d * e, 2},
        // Counting and placing the choices, then their rows.
        {"permute", kWide * (t * d + rows * d) + 4 * 4 * rows, 0, 3},
        {"gate and up", kWide * (hit * 2 * f * d + rows * d + 2 * rows * f), 4 * rows * d * f, 1},
        {"swiglu", kWide * 3 * rows * f, 0, 1},
        {"down", kWide * (hit * f * d + rows * f + rows * d), 2 * rows * d * f, 1},
        {"combine", kWide * (rows * d + t * d) + 8 * rows, 0, 1},
        {"residual", kWide * 3 * t * d, 0, 1},
    };
    StageCost layer{.name = "layer", .bytes = 0, .flops = 0, .launches = 0};
    // One pass over what goes in and out: fused stages need not touch memory in between.
    layer.bytes = kWide * (2 * t * d + hit * 3 * f * d);
    for (const StageCost& stage : stages) {
        layer.flops += stage.flops;
        layer.launches = 1;
    }
    stages.push_back(layer);
    return stages;
}

}  // namespace shardproof::bench
