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
// Loading and running agree on (ep, efsdp): wrong neighbours, and every number right.
[[nodiscard]] std::optional<Planted> swapped_expert_axes_everywhere(const Healthy& healthy);
// Rows are exchanged over the data-parallel group of the dense mesh, where it is as large as the experts' group.
[[nodiscard]] std::optional<Planted> dense_group_for_experts(const Healthy& healthy);
// The outputs of an MLP that tp ranks share stay partial sums.
[[nodiscard]] std::optional<Planted> partial_left_alone(const Healthy& healthy);

}  // namespace shardproof::props::mutant
