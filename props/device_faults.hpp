// The virtual ranks' faults, planted in a run on devices; and a devices' stall as the virtual ranks tell theirs.
#pragma once
#include <optional>
#include <string>

#include "gpu/ledger.hpp"
#include "gpu/plan_faults.hpp"
#include "oracle/model/error.hpp"
#include "props/check.hpp"
#include "sim/faults.hpp"

namespace shardproof::props {

struct DeviceFaultSet {
    std::optional<gpu::DeviceFaults> calls;
    std::optional<gpu::PlanFaults> plans;
};
// on_call (whether a rank joins, in which group and dtype; what else it alters of a call is not carried over), on_load
// and on_dispatch. `faults` outlives the set; nullptr: none.
[[nodiscard]] DeviceFaultSet device_faults(const sim::Faults* faults);

// Whether an error says something of the run that met it: what CUDA or NCCL answered, but for an answer that there is
// no more memory.
[[nodiscard]] bool is_of_the_run(const EnvironmentError& error);

void report_stall(const gpu::DeviceStall& stall, const std::string& layer, CheckReport& report);

}  // namespace shardproof::props
