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

}  // namespace shardproof::props::mutant
