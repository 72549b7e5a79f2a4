// What one forward of a plan moves and holds, in closed form, before it runs: bytes of every collective on every rank,
// activations, and a time by a stated model. Nothing is loaded and no rank runs; the virtual ranks count the same
// bytes.
#pragma once
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "oracle/model/result.hpp"
#include "sim/collective.hpp"
#include "sim/plan/plan.hpp"

namespace shardproof::sim {

// Which expert token `token` of the whole batch chooses as its `choice`-th, in layer `layer`. The K of a token differ.
using ExpertOf = std::function<ExpertId(std::int64_t layer, std::int64_t token, std::int64_t choice)>;
// Choice i of the batch, counted token by token, is expert i modulo E: as even as can be.
[[nodiscard]] ExpertOf uniform_routing(const RouterSpec& router);
// Every second token chooses experts 0 .. K-1, the others as uniform routing has them.
[[nodiscard]] ExpertOf skewed_routing(const RouterSpec& router);

// A network of two levels: ranks of a node are `ranks_per_node` consecutive ones. The defaults are assumptions, no
// measurements: vendors' peak of one H100 (NVLink 450 GB/s one way, one 400 Gb/s port), latencies of that order.
struct Link {
    double latency_us = 0;
    double gb_per_s = 0;  // 1e9 bytes a second, of one rank, one way
};
struct Network {
    std::int64_t ranks_per_node = 8;
    Link intra_node{.latency_us = 3, .gb_per_s = 450};
    Link inter_node{.latency_us = 10, .gb_per_s = 50};
};

// Numbers 0 .. n-1 as sequences of 16, dealt to data-parallel ranks as `check --tokens` deals them: one list a rank.
[[nodiscard]] std::vector<std::vector<std::int64_t>> deal_tokens(std::int64_t num_tokens, std::int64_t num_dp);

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

// A gather, scatter or sum is a ring of n ranks at the slowest link that its group crosses: n - 1 steps of latency, and
// the bytes that a rank gets from or hands to others; all_reduce is both. all_to_all sends to all peers at once, each
// level at its own speed: latency, and the bytes that leave or reach the rank there, whichever are more.
// Throws InputError for a layout that virtual ranks do not run (cp > 1, pp > 1). `plan` covers and is no plan of
// explicit shards (SP_ASSERT).
[[nodiscard]] StepCost cost_of(const Plan& plan, const StepOptions& options);

}  // namespace shardproof::sim
