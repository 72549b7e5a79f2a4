// A FuzzReport for people and for machines.
#pragma once
#include <iosfwd>
#include <optional>
#include <string>

#include "props/fuzz.hpp"
#include "reports/device_options.hpp"
#include "reports/json.hpp"

namespace shardproof::reports {

// `replay` is the command that replays a case, the case left out: "shardproof fuzz --replay".
void print_fuzz(const props::FuzzReport& report, const std::string& replay, std::ostream& out);
// `devices` of a run on them.
void write_fuzz(const props::FuzzReport& report, const std::string& replay, const std::optional<DevicesUsed>& devices,
                JsonWriter& json);

}  // namespace shardproof::reports
