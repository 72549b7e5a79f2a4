// How lists of ranks are written in keys and reports.
#pragma once
#include <span>
#include <string>

#include "oracle/model/ids.hpp"

namespace shardproof {

[[nodiscard]] std::string all_ranks(std::span<const Rank> ranks);    // "0,1,2": every one
[[nodiscard]] std::string group_text(std::span<const Rank> ranks);   // "[0,1,2]"; long ones "[0,...,7,... 16 ranks]"
[[nodiscard]] std::string named_ranks(std::span<const Rank> ranks);  // "rank 3", "ranks 0, 1 and 5 more"

}  // namespace shardproof
