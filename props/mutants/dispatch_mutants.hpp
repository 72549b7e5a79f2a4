// Mutants of dispatch and combine.
#pragma once
#include <optional>

#include "props/laws/subject.hpp"

namespace shardproof::props::mutant {

// Combine reads the returned rows in the order dispatched, not in the order of its tokens.
[[nodiscard]] std::optional<Planted> combine_in_dispatched_order(const Healthy& healthy);
// A rank without tokens of its own leaves out the exchange with its peers.
[[nodiscard]] std::optional<Planted> idle_rank_skips_exchange(const Healthy& healthy);
// A rank whose rows of one exchange are none leaves it out; its peers wait for nothing from it.
[[nodiscard]] std::optional<Planted> empty_sender_skips(const Healthy& healthy);
// The rank of an expert is its id / floor(E / ep), the last rank taking what is beyond it.
[[nodiscard]] std::optional<Planted> owner_by_floor(const Healthy& healthy);
// Every holder of an expert that several hold picks one of them by its own index, and their outputs are summed.
[[nodiscard]] std::optional<Planted> replica_by_own_index(const Healthy& healthy);
// Experts of other ranks are masked with id 0, which names expert 0.
[[nodiscard]] std::optional<Planted> masked_with_expert_zero(const Healthy& healthy);
// A counter that every rank adds its rows to in place is taken for the rank's own.
[[nodiscard]] std::optional<Planted> counts_summed_in_place(const Healthy& healthy);
// The K outputs of a token are added in the order in which ranks came, or in one that depends on the number of rows.
[[nodiscard]] std::optional<Planted> sum_in_order_of_arrival(const Healthy& healthy);
[[nodiscard]] std::optional<Planted> sum_by_batch_size(const Healthy& healthy);

}  // namespace shardproof::props::mutant
