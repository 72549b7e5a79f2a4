// A CheckReport in the contract's form.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "props/check.hpp"
#include "reports/device_options.hpp"
#include "reports/json.hpp"

namespace shardproof::reports {

// What the answer of a run on devices has beside.
struct OnDevices {
    DevicesUsed used;
    std::uint64_t seed = 0;
};
// `backend` as the user names it; `devices` of gpu.
void write_check(const CheckReport& report, const Plan& plan, const std::string& backend, const std::string& replay,
                 const std::optional<OnDevices>& devices, JsonWriter& json);
// {"pp":..,"dp_replicate":..,"dp_shard":..,"cp":..,"tp":..,"ep":..} is plan_json's; this writes a failure or null.
void write_failure(const std::optional<Mismatch>& failure, JsonWriter& json);

}  // namespace shardproof::reports
