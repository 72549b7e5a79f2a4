// A CheckReport for people.
#pragma once
#include <iosfwd>
#include <string>

#include "oracle/model/batch.hpp"
#include "props/check.hpp"

namespace shardproof::reports {

// "rank 5, sequence 0 position 3 column 17": a coordinate in words; of a parameter its global index.
[[nodiscard]] std::string place_text(const Mismatch& failure);
// One row a stage, then the verdict; a failure with both values, its bound and the line that replays it.
void print_check(const CheckReport& report, const std::string& replay, std::ostream& out);

}  // namespace shardproof::reports
