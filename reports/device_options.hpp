// Options of the commands that run on GPUs: what goes between ranks, and how long to wait for it.
#pragma once
#include <cstdint>
#include <string>

#include "props/device_check.hpp"
#include "reports/forward_options.hpp"
#include "reports/json.hpp"
#include "reports/replay.hpp"

namespace shardproof::reports {

struct DeviceOptions {
    std::string transport;     // "": auto
    std::string dispatcher;    // "": send-receive
    std::string grouped_gemm;  // "": auto
    std::string deadline;      // seconds; "": 60, of fuzz 20
};
// `dispatcher_without` is what runs where no dispatcher is given, as --help says it.
void add_device_options(OptionSet& set, DeviceOptions& options, const std::string& dispatcher_without = "send-receive");
// Throws InputError for a name that no table has, and for a dispatcher that does not go with the transport.
void require_known_names(const DeviceOptions& options);
// The same; and without --backend gpu for any that was given.
void require_gpu_for(const DeviceOptions& options, Backend backend);
// Throws InputError for a plan whose experts device ranks do not run: cut in parts after dispatch, or held twice.
void require_devices_run(const Plan& plan);
void add_to(ReplayLine& line, const DeviceOptions& options);

// What is meant where nothing is given. A case of fuzz is small: there is less to wait for.
inline constexpr double kDeadlineOfCheck_s = 60;
inline constexpr double kDeadlineOfFuzz_s = 20;
[[nodiscard]] double deadline_of(const DeviceOptions& options, double without = kDeadlineOfCheck_s);
[[nodiscard]] std::string dispatcher_of(const DeviceOptions& options);
[[nodiscard]] std::string grouped_gemm_of(const DeviceOptions& options);
[[nodiscard]] DevicesOptions devices_of(const DeviceOptions& options, std::int64_t world,
                                        double deadline_s_without = kDeadlineOfCheck_s);

// What a run on devices used, for an answer: "devices": {"gpu": ..., "transport": ..., ...}.
struct DevicesUsed {
    DevicesFacts facts;
    std::string dispatcher;    // "": several
    std::string grouped_gemm;  // "": several
};
void write_devices(const DevicesUsed& used, JsonWriter& json);

}  // namespace shardproof::reports
