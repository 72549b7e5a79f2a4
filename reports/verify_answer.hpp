// What `verify` says, for people and for machines.
#pragma once
#include <iosfwd>
#include <string>

#include "reports/json.hpp"
#include "sim/verify/verify.hpp"

namespace shardproof::reports {

void print_report(const verify::Report& report, const std::string& folder, std::ostream& out);
void write_report(const verify::Report& report, JsonWriter& json);

}  // namespace shardproof::reports
