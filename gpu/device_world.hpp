// DeviceWorld: runs a Plan on real devices. The MoE layer, router to combine, of all ranks of this process.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gpu/dispatchers/dispatcher.hpp"
#include "gpu/plan_faults.hpp"
#include "gpu/rank_memory.hpp"
#include "gpu/session.hpp"
#include "oracle/model/result.hpp"
#include "sim/plan/dispatch_plan.hpp"
#include "sim/plan/plan.hpp"

namespace shardproof::gpu {

struct WorldOptions {
    Arithmetic arithmetic = Arithmetic::bf16;
    std::string dispatcher = "send-receive";
    std::string grouped_gemm = "auto";
    double deadline_s = 60;
    const DeviceFaults* faults = nullptr;     // outlive the world
    const PlanFaults* plan_faults = nullptr;
    bool carries_only = false;             // see MoeLayer: for exact laws
};

// One local rank's MoE layer.
struct MoeRank {
    Rank rank;
    Rows hidden;                          // in: after attention and its residual [n,D]
    std::vector<ExpertId> expert_ids;     // out, of the rows of `hidden`
    std::vector<float> expert_weights;    // out
    Rows output;                          // out: hidden + the layer's sum [n,D]
    Run dispatched;                       // out: of the rows routed here, those that this rank dispatched
    std::vector<ExpertId> dispatched_ids; // out: their experts
    DispatchPlan dispatch;                // out: as its device planned it
    std::vector<std::int32_t> expert_begin;  // out [locals+1]: where the rows that arrived for each expert begin
};

class DeviceWorld {
public:
    // `plan`, `checkpoint` and `session` outlive it. Throws InputError for layouts that are not run (cp, pp > 1) and
    // for a dispatcher that does not go with the transport.
    DeviceWorld(const Plan& plan, const Checkpoint& checkpoint, Session& session, const WorldOptions& options);
    ~DeviceWorld();

    // Loads the MoE parameters of `layer` of all local ranks, in place of what was held.
    DeviceLoadReport load(std::int64_t layer);
    // What a local rank holds of a parameter of the layer, read back: storage order, checkpoint dtype.
    [[nodiscard]] std::vector<std::byte> held(Rank rank, std::size_t param_idx);
    [[nodiscard]] std::vector<std::size_t> held_params() const;

    // Runs the layer that was loaded. `ranks` are this process's, ascending; rows_of_rank the rows of `hidden` of every
    // rank of the world. With sequence parallelism a rank's rows are its slice. Throws StallError.
    void moe_layer(std::span<MoeRank> ranks, std::span<const std::int64_t> rows_of_rank);
    // Times that the host waited for the devices inside the last layer, between its first kernel and its last.
    [[nodiscard]] std::int64_t host_waits() const;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace shardproof::gpu
