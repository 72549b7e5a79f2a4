// The rows of the table of causes. Private to sim/verify: use causes().
#pragma once
#include <vector>

#include "sim/verify/causes.hpp"

namespace shardproof::verify {

void add_mesh_causes(const Plan& plan, std::vector<Cause>& rows);    // ranks numbered otherwise
void add_expert_causes(const Plan& plan, std::vector<Cause>& rows);  // experts dealt otherwise
void add_cut_causes(const Plan& plan, std::vector<Cause>& rows);     // matrices fused, cut or swapped otherwise

// What shard_index() gives with another mesh or other placements; nullopt where shards are given rank by rank.
[[nodiscard]] std::optional<std::vector<IndexRuns>> index_by(const Plan& plan, std::size_t param, const Mesh& mesh,
                                                             const std::vector<Placement>& placements, Rank rank);
// The only axis that cuts `dim`, as an index into the mesh's axes; nullopt: none, or several, or shards are given.
[[nodiscard]] std::optional<std::size_t> only_axis_on(const Plan& plan, std::size_t param, std::size_t dim);

}  // namespace shardproof::verify
