// Trace: what happened, collective by collective, as the world performed it.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "sim/collective.hpp"

namespace shardproof::sim {

struct TraceEvent {
    CollectiveKind kind{};
    std::string_view group;      // axis name
    std::vector<Rank> ranks;     // members, in group order; a pair for point to point
    DType dtype{};
    std::string_view what;
    std::int64_t bytes_sent = 0;  // summed over members, self included; in the dtype that travels
    // Of each member: bytes of its send and of its receive buffer, what it keeps for itself included.
    std::vector<std::int64_t> sent_by;
    std::vector<std::int64_t> received_by;
};
using Trace = std::vector<TraceEvent>;

}  // namespace shardproof::sim
