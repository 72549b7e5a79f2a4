// Mutants of dispatch and combine.
#pragma once
#include <optional>

#include "props/laws/subject.hpp"

namespace shardproof::props::mutant {

// Combine reads the returned rows in the order dispatched, not in the order of its tokens.
[[nodiscard]] std::optional<Planted> combine_in_dispatched_order(const Healthy& healthy);
// A rank without tokens of its own leaves out the exchange with its peers.
[[nodiscard]] std::optional<Planted> idle_rank_skips_exchange(const Healthy& healthy);

}  // namespace shardproof::props::mutant
