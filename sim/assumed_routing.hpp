// Tokens and their experts of a step that nobody ran: what a forecast assumes.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "oracle/model/config.hpp"
#include "oracle/model/ids.hpp"

namespace shardproof::sim {

// Which expert token `token` of the whole batch chooses as its `choice`-th, in layer `layer`. The K of a token differ.
using ExpertOf = std::function<ExpertId(std::int64_t layer, std::int64_t token, std::int64_t choice)>;
// Choice i of the batch, counted token by token, is expert i modulo E: as even as can be.
[[nodiscard]] ExpertOf uniform_routing(const RouterSpec& router);
// Every second token chooses experts 0 .. K-1, the others as uniform routing has them.
[[nodiscard]] ExpertOf skewed_routing(const RouterSpec& router);

// Numbers 0 .. n-1 as sequences of 16, dealt to data-parallel ranks as `check --tokens` deals them: one list a rank.
[[nodiscard]] std::vector<std::vector<std::int64_t>> deal_tokens(std::int64_t num_tokens, std::int64_t num_dp);

}  // namespace shardproof::sim
