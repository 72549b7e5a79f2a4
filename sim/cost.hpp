// What one forward of a plan moves and holds, in closed form, before it runs: bytes of every collective on every rank,
// activations, and a time by a stated model. Nothing is loaded and no rank runs; the virtual ranks count the same
// bytes.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "oracle/model/result.hpp"
#include "sim/assumed_routing.hpp"
#include "sim/collective.hpp"
#include "sim/network.hpp"
#include "sim/plan/plan.hpp"

namespace shardproof::sim {

struct StepOptions {
    std::vector<std::vector<std::int64_t>> tokens_of_dp;  // of each data-parallel rank, in the order of its rows
    Arithmetic arithmetic = Arithmetic::bf16;
    ExpertOf expert_of;                 // needed where there are MoE layers
    bool same_in_all_layers = true;     // expert_of does not look at the layer
    Network network;
};

// One collective, as often as it comes alike.
struct CollectiveCost {
    CollectiveKind kind{};
    std::string_view group;             // axis
    std::string_view what;              // as the trace has it
    DType dtype{};
    std::vector<std::int64_t> stages;   // 0 embeddings, 1 + layer, last the head; one entry a call of a rank
    std::vector<std::int64_t> sent;     // bytes of a rank's send buffer in one call, one entry a rank
    std::vector<std::int64_t> received; // of its receive buffer
    double time_us = 0;                 // of one call: the slowest rank's
    bool operator==(const CollectiveCost&) const = default;
};

struct StepCost {
    std::vector<CollectiveCost> collectives;   // in the order of the first call
    // A rank at its fullest: the residual stream and what a block works on, in the arithmetic's dtype; weights not
    // counted. Rows on their way to experts and back are in dispatch_bytes, those being worked on in both.
    std::vector<std::int64_t> activation_bytes;
    // Rows sent and rows arrived, both buffers, in the fullest MoE layer.
    std::vector<std::int64_t> dispatch_bytes;
    double time_us = 0;                        // of all calls, one after another; no arithmetic, nothing overlaps
};

// Bytes as the virtual ranks' program moves them, times as `options.network` has them (network.hpp).
// Throws InputError for a layout that virtual ranks do not run (cp > 1, pp > 1). `plan` covers and is no plan of
// explicit shards (SP_ASSERT).
[[nodiscard]] StepCost cost_of(const Plan& plan, const StepOptions& options);

}  // namespace shardproof::sim
