// Mutants of what is loaded: transformations of load plans. The load-time bugs of the list.
#pragma once
#include <optional>

#include "props/laws/subject.hpp"

namespace shardproof::props::mutant {

// The fused [w1; w3] is cut as one block over tp: the first ranks get gate rows only, the last ones up rows only.
[[nodiscard]] std::optional<Planted> fused_block(const Healthy& healthy);
// Gate and up are taken for each other.
[[nodiscard]] std::optional<Planted> swapped_gate_and_up(const Healthy& healthy);
// Every ep rank loads the first experts, as many as it should hold.
[[nodiscard]] std::optional<Planted> first_experts_everywhere(const Healthy& healthy);
// Experts beyond an even share are all allotted to the last rank, while the loader deals them evenly: each rank loads
// what the loader means for it, as far as there is room.
[[nodiscard]] std::optional<Planted> remainder_on_the_last_rank(const Healthy& healthy);
// w3 is transposed once too often.
[[nodiscard]] std::optional<Planted> transposed_twice(const Healthy& healthy);
// The last expert's keys match no parameter and are skipped.
[[nodiscard]] std::optional<Planted> unmatched_expert_keys(const Healthy& healthy);
// Experts that want a cast to f32 are loaded into the cast's copy.
[[nodiscard]] std::optional<Planted> cast_makes_a_copy(const Healthy& healthy);
// A rank's slice of the experts is taken from its end to its beginning: empty.
[[nodiscard]] std::optional<Planted> empty_slice(const Healthy& healthy);
// Saved under local ids: every ep rank writes its experts over the first ones.
[[nodiscard]] std::optional<Planted> saved_under_local_ids(const Healthy& healthy);
// A kv head that several tp ranks hold is looked up by the rank's number, not divided by their number.
[[nodiscard]] std::optional<Planted> kv_head_by_rank(const Healthy& healthy);
// A second load finds gate and up in the order that running wants, and writes each over the other.
[[nodiscard]] std::optional<Planted> second_load_swapped(const Healthy& healthy);

}  // namespace shardproof::props::mutant
