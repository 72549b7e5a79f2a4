// Laws of meshes: the groups of every axis, and the two ways to name a rank.
#pragma once
#include <optional>
#include <string>

#include "props/laws/subject.hpp"

namespace shardproof::props::mesh {

// The groups of each axis have the degree's size and hold every rank of the world once.
[[nodiscard]] std::optional<std::string> groups_partition(Subject& subject);
// rank -> coordinates -> rank is the identity, and no two ranks share coordinates.
[[nodiscard]] std::optional<std::string> bijection(Subject& subject);
// tp and ep are innermost: their groups are neighbouring ranks. Source: facts 1.2.
[[nodiscard]] std::optional<std::string> innermost_are_neighbours(Subject& subject);

}  // namespace shardproof::props::mesh
