// A CheckReport in the contract's form.
#pragma once
#include <string>

#include "props/check.hpp"
#include "reports/json.hpp"

namespace shardproof::reports {

// `backend` as the user names it.
void write_check(const CheckReport& report, const Plan& plan, const std::string& backend, const std::string& replay,
                 JsonWriter& json);
// {"pp":..,"dp_replicate":..,"dp_shard":..,"cp":..,"tp":..,"ep":..} is plan_json's; this writes a failure or null.
void write_failure(const std::optional<Mismatch>& failure, JsonWriter& json);

}  // namespace shardproof::reports
