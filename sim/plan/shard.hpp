// Shard: the index runs of a tensor that one rank holds, in closed form.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "oracle/model/box.hpp"
#include "oracle/model/tensor.hpp"
#include "sim/plan/mesh.hpp"
#include "sim/plan/placement.hpp"

namespace shardproof {

// Adds a run at the end: to the last one where it goes on from there; an empty one not at all.
void append_run(IndexRuns& runs, Run run);

// Part `idx` of `extent` indices cut into `parts` as torch.chunk does: ceil(extent/parts) each; an empty part begins at
// `extent`.
[[nodiscard]] Run chunk(std::int64_t extent, std::int64_t parts, std::int64_t idx);
// The same of a list of runs: positions chunk(num_indices(runs), parts, idx) of their concatenation.
[[nodiscard]] IndexRuns chunk(const IndexRuns& runs, std::int64_t parts, std::int64_t idx);

// Rows of each member of a group of `num_members` when `num_rows` are dealt in order, as chunk() does.
[[nodiscard]] std::vector<std::int64_t> slices_of(std::int64_t num_rows, std::size_t num_members);

// One tensor on one mesh: one placement an axis.
struct Layout {
    const Mesh* mesh = nullptr;
    std::vector<Placement> placements;
};

// The truth of storage: per dim, plain shards left to right; a strided shard applies after all axes to its right. On a
// dim that tp and fsdp share that is tp's chunk first, then fsdp's chunk of it.
[[nodiscard]] std::vector<IndexRuns> shard_index(const Layout& layout, const Shape& shape, Rank rank);
// What DTensor's description of the same placements says (axes left to right, StridedShard by its definition). Differs
// from shard_index where a dim is split unevenly by both: plan warns.
[[nodiscard]] std::vector<IndexRuns> described_index(const Layout& layout, const Shape& shape, Rank rank);

[[nodiscard]] Shape local_shape(const std::vector<IndexRuns>& index);

}  // namespace shardproof
