// device_check: the MoE layers of a model on real devices, fed what the virtual ranks recorded, judged by the oracle.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

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

// What the devices are: for answers and records.
struct DevicesFacts {
    std::string gpu;                  // "NVIDIA H200"
    std::string transport;            // "nccl", "loopback"
    std::optional<std::string> nccl;  // "2.32.3" where NCCL goes between ranks
    std::string cuda_driver;          // that the driver supports: "13.0"
    std::string cuda_runtime;         // that is built in
    std::string note;                 // why "auto" did not take NCCL; else empty
};

// What multiplies a plan's experts: the rows of the table that its layers' products run by, or why the row that was
// asked for cannot.
struct GroupedGemmChoice {
    std::vector<std::string> rows;  // in the order of the table, each once
    std::optional<std::string> why_not;
};

// Devices, streams and communicators, shared by many checks. This is all that other parts see of gpu/: a build without
// CUDA has another body of make_devices(), and tests have devices of their own.
class Devices {
public:
    Devices() = default;
    Devices(const Devices&) = delete;
    Devices& operator=(const Devices&) = delete;
    virtual ~Devices() = default;
    [[nodiscard]] virtual std::string describe() const = 0;  // one line
    [[nodiscard]] virtual DevicesFacts facts() const = 0;
    // Of several processes each judges all ranks, and the first one tells.
    [[nodiscard]] virtual bool is_first_process() const = 0;
    // False after a stall and after an error of CUDA or NCCL in a run.
    [[nodiscard]] virtual bool usable() const = 0;
    // nullopt where this dispatcher runs here, else what is missing. Throws InputError for a name that no table has.
    [[nodiscard]] virtual std::optional<std::string> why_not(const std::string& dispatcher) const = 0;
    // `name` as in DeviceCheckOptions::grouped_gemm. Throws InputError as why_not() does.
    [[nodiscard]] virtual GroupedGemmChoice grouped_gemm(const Plan& plan, Arithmetic arithmetic,
                                                         const std::string& name) const = 0;

    // Verdicts of the MoE layers: each rank's routing, output and loaded bytes, by the oracle; the dispatch plan that
    // the devices computed, by the pure function. A stall, and what CUDA or NCCL answer in a run, are failures.
    [[nodiscard]] virtual CheckReport check(const Model& model, const Plan& plan, const Batch& batch,
                                            const DeviceCheckOptions& options) = 0;
    // Rows of small integers carried to experts that hand them on: the first element that is not exactly what came, by
    // rank. `payload_seed` draws the integers. A stall, and what CUDA or NCCL answer, are mismatches without an
    // element.
    [[nodiscard]] virtual std::optional<Mismatch> check_carrying(const Model& model, const Plan& plan,
                                                                 const Batch& batch, const DeviceCheckOptions& options,
                                                                 std::uint64_t payload_seed) = 0;
};

// Throws EnvironmentError: no CUDA in this build, no GPU, NCCL missing or too old.
[[nodiscard]] std::unique_ptr<Devices> make_devices(const DevicesOptions& options);
// Throws InputError naming the launcher where this is one of several processes.
void require_one_process(const std::string& command);
// What devices of one kind (90 for compute capability 9.0) would multiply a plan's experts by. Asks no device.
[[nodiscard]] GroupedGemmChoice choose_grouped_gemm(const Plan& plan, Arithmetic arithmetic, const std::string& name,
                                                    int compute_capability);

}  // namespace shardproof
