// Mutants of groups and meshes: who talks to whom.
#pragma once
#include <optional>

#include "props/laws/subject.hpp"

namespace shardproof::props::mutant {

// The communicator of the experts is built of num_experts ranks instead of ep.
[[nodiscard]] std::optional<Planted> communicator_of_num_experts(const Healthy& healthy);
// The sparse mesh is built with num_experts as its ep degree, for loading and running alike.
[[nodiscard]] std::optional<Planted> mesh_of_num_experts(const Healthy& healthy);
// Loading takes (efsdp, ep), running takes them the other way round.
[[nodiscard]] std::optional<Planted> swapped_expert_axes(const Healthy& healthy);

}  // namespace shardproof::props::mutant
