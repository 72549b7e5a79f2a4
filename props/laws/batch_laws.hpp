// Laws of a batch: a token's numbers are its own, whatever else is in the batch and wherever it stands.
#pragma once
#include <optional>
#include <string>

#include "props/laws/subject.hpp"

namespace shardproof::props::batch {

// Dummy sequences on every data-parallel rank, of any token or of one whose embedding is zero, NaN or infinite, leave
// every bit of every other token as it was; their own expert ids are distinct ids of experts.
[[nodiscard]] std::optional<std::string> pads_change_nothing(Subject& subject);
// Beside such sequences every layer of the others is within its bound of the oracle's, which knows none of them.
[[nodiscard]] std::optional<std::string> beside_pads_within_bounds(Subject& subject);
// A part of the sequences in another order and on other data-parallel ranks, one of them twice where nothing else would
// change: the same bits for each token.
[[nodiscard]] std::optional<std::string> split_and_order_do_not_matter(Subject& subject);

}  // namespace shardproof::props::batch
