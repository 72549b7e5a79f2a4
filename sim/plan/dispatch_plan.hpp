// DispatchPlan: one step's routing -> per-peer counts, slot order, and the inverse that combine uses. Pure functions.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "oracle/model/ids.hpp"
#include "sim/plan/plan.hpp"

namespace shardproof {

// Which peer of an expert-parallel group holds which experts.
struct ExpertHome {
    std::int64_t peer = 0;      // coordinate on the ep axis
    LocalExpert local;          // its place in that peer's shard
};
struct ExpertMap {
    std::int64_t num_peers = 1;
    std::vector<ExpertHome> home;                    // one an expert: its first holder
    std::vector<std::vector<ExpertId>> held;         // one a peer, in storage order
    std::vector<std::vector<ExpertHome>> replicas{};  // one list an expert, the home first; empty where none has two
    [[nodiscard]] std::size_t num_held() const;       // by all peers together
};
// Whether each rank dispatches its own rows to the ranks that hold experts: routed experts lie on the sparse mesh.
// Otherwise (experts cut by tp, on the dense mesh) every rank works on all rows of its tp group by itself.
[[nodiscard]] bool dispatches_own_rows(const Plan& plan);
// From the plan's placement of the routed experts of MoE layer `layer` over ep (FSDP gathered).
[[nodiscard]] ExpertMap expert_map(const Plan& plan, std::int64_t layer);

// On the sending rank: rows are its tokens, K choices a row.
struct DispatchPlan {
    std::int64_t top_k = 0;
    std::vector<std::int64_t> rows_to_peer;     // [peers]
    std::vector<std::int64_t> rows_to_expert;   // [experts], by ExpertId
    std::vector<std::int64_t> rows_to_held{};   // rows to each expert that each peer holds, peer by peer
    std::vector<std::int64_t>
        slot_token;       // [n*K] slot -> local token row; slots ordered by (peer, local expert, token, choice)
    std::vector<std::int64_t> slot_choice;      // [n*K] slot -> k
    std::vector<std::int64_t> slot_of;          // [n*K] token*K + k -> slot: the inverse
};
// Of an expert with several holders, choice i of the list `expert_ids` goes to holder i modulo their number: by its
// position, as vLLM spreads them (eplb_map_to_physical_and_record). The sender chooses; receivers only count rows.
[[nodiscard]] DispatchPlan plan_dispatch(const ExpertMap& experts, std::span<const ExpertId> expert_ids,
                                         std::int64_t top_k);

// On the receiving rank: rows arrive source-major, inside each source expert-major; experts want them expert-major.
struct ArrivalPlan {
    std::vector<std::int64_t> rows_from_peer;     // [peers]
    std::vector<std::int64_t> rows_of_expert;     // [local experts]
    std::vector<std::int64_t>
        arrival_row;        // [rows] expert-major position -> arrival row; ordered by (expert, peer, row)
};
// `counts` is [peers, local experts] row-major: rows of each local expert that each peer announced.
[[nodiscard]] ArrivalPlan plan_arrival(std::span<const std::int64_t> counts, std::int64_t num_peers,
                                       std::int64_t num_local_experts);

}  // namespace shardproof
