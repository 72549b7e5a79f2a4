// RankMemory: a rank's parameter shards on its device, read by the same LoadPlan as everywhere, through pinned staging.
#pragma once
#include <cstdint>
#include <vector>

#include "gpu/buffer.hpp"
#include "gpu/plan_faults.hpp"
#include "oracle/model/checkpoint.hpp"
#include "sim/plan/load_plan.hpp"
#include "sim/plan/plan.hpp"

namespace shardproof::gpu {

struct DeviceParam {
    std::size_t param_idx = 0;  // into Plan::params
    Shape shape;  // local
    DeviceBytes bytes;  // checkpoint dtype, storage order
};

// Two page-locked buffers in turn: the host fills one while the device copies the other. For the device that was
// current when it was made.
class Staging {
public:
    explicit Staging(double deadline_s = 60) : deadline_s_{deadline_s} {}
    // Waits until that buffer's last copy is done. Throws StallError when it is not by the deadline.
    [[nodiscard]] std::span<std::byte> next(std::int64_t bytes);
    void used(StreamView stream);  // its copy was enqueued there

private:
    double deadline_s_;
    struct Half {
        PinnedBytes bytes;
        Event copied;
        bool busy = false;
    };
    Half halves_[2];
    int turn_ = 0;
};

struct DeviceLoadReport {
    std::int64_t bytes_planned = 0;
    std::int64_t bytes_read = 0;
};

// Reads one shard's bytes from the mapped files and copies them to the current device, poisoned (0xFF) before.
// Asynchronous with respect to the device.
[[nodiscard]] DeviceParam load_param(const Plan& plan, const Checkpoint& checkpoint, std::size_t param_idx, Rank rank,
                                     Staging& staging, const PlanFaults* faults, DeviceLoadReport& report,
                                     StreamView stream);

}  // namespace shardproof::gpu
