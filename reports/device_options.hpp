// Options of the commands that run on GPUs: what goes between ranks, and how long to wait for it.
#pragma once
#include <cstdint>
#include <string>

#include "props/device_check.hpp"
#include "reports/forward_options.hpp"
#include "reports/replay.hpp"

namespace shardproof::reports {

struct DeviceOptions {
    std::string transport;     // "": auto
    std::string dispatcher;    // "": send-receive
    std::string grouped_gemm;  // "": auto
    std::string deadline;      // seconds; "": 60
};
void add_device_options(OptionSet& set, DeviceOptions& options);
// Throws InputError for a name that no table has, and for a dispatcher that does not go with the transport.
void require_known_names(const DeviceOptions& options);
// The same; and without --backend gpu for any that was given.
void require_gpu_for(const DeviceOptions& options, Backend backend);
// Throws InputError for a plan whose experts device ranks do not run: cut in parts after dispatch, or held twice.
void require_devices_run(const Plan& plan);
void add_to(ReplayLine& line, const DeviceOptions& options);

[[nodiscard]] double deadline_of(const DeviceOptions& options);
[[nodiscard]] DevicesOptions devices_of(const DeviceOptions& options, std::int64_t world);

}  // namespace shardproof::reports
