// Laws of dispatch and combine: who sends what to whom, and that everything comes back to where it left.
#pragma once
#include <optional>
#include <string>

#include "props/laws/subject.hpp"

namespace shardproof::props::dispatch {

// Whether the run that was made dispatches any row: these laws have nothing to look at elsewhere.
[[nodiscard]] bool any_row_dispatched(Subject& subject);

// What a rank says it sends to a peer is what the peer expects from it; all of it together is tokens * K.
[[nodiscard]] std::optional<std::string> counts_agree(Subject& subject);
// A tag that names rank, token and choice, carried through the plans of dispatch, arrival and combine, meets its expert
// and comes back to its place.
[[nodiscard]] std::optional<std::string> combine_inverts_dispatch(Subject& subject);
// The program of the virtual ranks, run on experts that multiply by their id + 1 and small integers: exact, in any
// order.
[[nodiscard]] std::optional<std::string> scaling_experts_are_exact(Subject& subject);

}  // namespace shardproof::props::dispatch
