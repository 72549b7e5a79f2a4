// A FuzzReport for people and for machines.
#pragma once
#include <iosfwd>

#include "props/fuzz.hpp"
#include "reports/json.hpp"

namespace shardproof::reports {

void print_fuzz(const props::FuzzReport& report, std::ostream& out);
void write_fuzz(const props::FuzzReport& report, JsonWriter& json);

}  // namespace shardproof::reports
