// MoeLayer: the MoE block of one layer on all local ranks: norm, router, dispatch, local experts, combine, residual.
// One thread enqueues everything; the host waits only where the dispatcher says so, and at the end.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "gpu/dispatchers/dispatcher.hpp"
#include "gpu/kernels/grouped_gemm.hpp"
#include "gpu/layer_weights.hpp"
#include "gpu/plan_faults.hpp"

namespace shardproof::gpu {

// What a rank's rows do. Without expert parallelism they stay, and tp ranks add up partial sums; with it a rank
// dispatches its own rows, or, where tp ranks hold the same rows, its slice of them.
enum class RowsOf : std::uint8_t { everyone, rank, slice };
[[nodiscard]] RowsOf rows_to_dispatch(const Plan& plan);

// One local rank at work. Buffers grow and are poisoned before each run.
struct RankWork {
    explicit RankWork(const LocalRank& rank);  // of a device that exists
    LocalRank local;
    int compute_capability = 0;
    RankGroups groups;
    RankGroup alone;              // a group of this rank, where experts are not parallel
    LayerWeights weights;
    std::int64_t num_rows = 0;    // of hidden
    std::int64_t num_routed = 0;  // of x as routed: num_rows, or all rows of the tp group
    Run dispatched;               // of the routed rows, those that this rank dispatches
    Run mine;                     // of the routed rows, those of `hidden`
    DeviceBytes upload;           // f32 [num_rows,D]
    DeviceBytes hidden;           // [num_rows,D]
    DeviceBytes x;                // normed [num_rows,D]
    DeviceBytes x_all;            // [num_routed,D] where it is gathered
    DeviceArray<float> logits;          // [num_routed,E]
    DeviceArray<std::int32_t> ids;      // [num_routed,K]
    DeviceArray<float> routing_weights; // [num_routed,K]
    DeviceArray<std::int32_t> place;    // [E]
    DeviceArray<std::int32_t> rows_at;  // [E]
    DeviceArray<std::int32_t> begin_at; // [E+1]
    DeviceArray<std::int32_t> slot_choice;  // [dispatched*K]
    DeviceArray<std::int32_t> slot_of;      // [dispatched*K]
    DeviceBytes scratch;
    DeviceBytes send;             // [dispatched*K,D]
    DeviceBytes gate;             // [capacity,F]
    DeviceBytes up;               // [capacity,F]
    DeviceBytes gemm_workspace;
    DeviceBytes partial;          // [num_routed,D] before tp adds up
    DeviceBytes sum;              // f32 [num_routed,D]: what tp adds up
    DeviceBytes output;           // [num_rows,D]
};

class MoeLayer {
public:
    // All outlive it.
    MoeLayer(const Plan& plan, Transport& transport, Ledger& ledger, std::span<const LocalRank> ranks,
             const DispatcherRow& dispatcher, std::string_view grouped_gemm, Arithmetic arithmetic);

    [[nodiscard]] RankWork& work(std::size_t local_idx) { return work_[local_idx]; }
    [[nodiscard]] std::span<const RankDispatch> parts() const { return parts_; }
    [[nodiscard]] const ExpertMap& experts() const { return experts_; }  // of the layer prepared last

    // Makes room for these rows and for the weights that were loaded, poisoned. rows_of_rank: rows of `hidden` of every
    // rank of the world. Throws InputError for a grouped GEMM that cannot multiply these weights.
    void prepare(std::int64_t layer, std::span<const std::int64_t> rows_of_rank);
    // Gathers the weights, after prepare(). Part of a layer where FSDP is.
    void gather_weights();
    // From `hidden`, already on the device, to `output`.
    void run();
    // Called when a stage's work was enqueued on every local rank: "norm", "router", "plan", "permute", "dispatch",
    // "gate and up", "swiglu", "down", "return", "combine", "residual".
    std::function<void(std::string_view stage)> on_stage;
    // Rows travel as they are: no norm, experts that hand on what they get, unit weights. The layer then adds to each
    // row K times itself (and once more for each further tp rank where tp adds up partial sums): exact for small
    // integers.
    bool carries_only = false;
    const PlanFaults* faults = nullptr;  // outlives it

private:
    void prepare_gemms(RankWork& work) const;
    void prepare_rows(RankWork& work, RankDispatch& part, std::span<const std::int64_t> rows_of_rank);
    void norm(RankWork& work) const;
    void route();
    void plan_and_permute();
    void run_experts();
    void combine();
    void reduce_over_tp();
    void stage(std::string_view name) const {
        if (on_stage) on_stage(name);
    }
    [[nodiscard]] Matrix matrix(const DeviceBytes& bytes, std::int64_t rows, std::int64_t cols) const {
        return {.data = bytes.data(), .rows = rows, .cols = cols, .arithmetic = arithmetic_};
    }
    [[nodiscard]] std::byte* row(const DeviceBytes& bytes, std::int64_t row) const {
        return bytes.data() + row * plan_.config.hidden_size * element_bytes(arithmetic_);
    }
    // x as routed.
    [[nodiscard]] Matrix routed(const RankWork& work) const {
        return matrix(gathers_input_ ? work.x_all : work.x, work.num_routed, plan_.config.hidden_size);
    }

    const Plan& plan_;
    Transport& transport_;
    Ledger& ledger_;
    std::span<const LocalRank> ranks_;
    Arithmetic arithmetic_;
    RowsOf rows_of_;
    bool gathers_input_;  // sequence parallelism without expert parallelism
    std::unique_ptr<Dispatcher> dispatcher_;
    std::string grouped_gemm_name_;
    ExpertMap experts_;
    std::int64_t layer_ = -1;
    std::vector<RankWork> work_;
    std::vector<RankDispatch> parts_;
};

}  // namespace shardproof::gpu
