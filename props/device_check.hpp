// device_check: the MoE layers of a model on real devices, fed what the virtual ranks recorded, judged by the oracle.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "oracle/judge.hpp"
#include "oracle/model/model.hpp"
#include "props/check.hpp"
#include "sim/plan/plan.hpp"

namespace shardproof {

// Which devices and what goes between them. Names are those of the tables in gpu/.
struct DevicesOptions {
    std::int64_t world = 1;          // ranks that will run at most
    std::string transport = "auto";
    double deadline_s = 60;
};

struct DeviceCheckOptions {
    Arithmetic arithmetic = Arithmetic::bf16;
    std::uint64_t seed = 0;              // of the virtual ranks' scheduler
    std::string dispatcher = "send-receive";
    std::string grouped_gemm = "auto";
    double deadline_s = 60;
    const sim::Faults* faults = nullptr;  // planted in the devices' run: routing, dispatch and load plans
    const Plan* judged_plan = nullptr;    // as in CheckOptions
    std::function<void(std::int64_t stages_done, std::int64_t stages)> progress;
};

// Devices, streams and communicators, shared by many checks. This is all that other parts see of gpu/: a build without
// CUDA has another body of it.
class Devices {
public:
    // Throws EnvironmentError: no CUDA in this build, no GPU, NCCL missing or too old.
    explicit Devices(const DevicesOptions& options);
    ~Devices();
    [[nodiscard]] std::string describe() const;
    // Of several processes each judges all ranks, and the first one tells.
    [[nodiscard]] bool is_first_process() const;

    // Verdicts of the MoE layers: each rank's routing, output and loaded bytes, by the oracle; the dispatch plan that
    // the devices computed, by the pure function. A stall is a failure, and the devices are of no use afterwards.
    [[nodiscard]] CheckReport check(const Model& model, const Plan& plan, const Batch& batch,
                                    const DeviceCheckOptions& options);
    // Rows of small integers carried to experts that hand them on: the first element that is not exactly what came, by
    // rank. `payload_seed` draws the integers.
    [[nodiscard]] std::optional<Mismatch> check_carrying(const Model& model, const Plan& plan, const Batch& batch,
                                                         const DeviceCheckOptions& options, std::uint64_t payload_seed);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace shardproof
