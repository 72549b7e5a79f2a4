// How the axes of a mesh cut one tensor dim. The runs of a dim depend on the coordinates of the axes that shard that
// dim and on nothing else, so everything below works a dim at a time and never looks at all ranks.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "sim/plan/shard.hpp"

namespace shardproof {

// The tensor dim that a placement shards; -1 for Replicate and Partial.
[[nodiscard]] std::ptrdiff_t dim_of(const Placement& placement);
// The axes that shard `dim`, as indices into mesh.axes(), left to right.
[[nodiscard]] std::vector<std::size_t> axes_on(const Mesh& mesh, std::span<const Placement> placements,
                                               std::size_t dim);

// `coordinates` has one entry an axis of the mesh; those of axes that do not shard `dim` are not read.
[[nodiscard]] IndexRuns stored_runs(const Mesh& mesh, std::span<const Placement> placements, std::size_t dim,
                                    std::int64_t extent, std::span<const std::int64_t> coordinates);
[[nodiscard]] IndexRuns described_runs(const Mesh& mesh, std::span<const Placement> placements, std::size_t dim,
                                       std::int64_t extent, std::span<const std::int64_t> coordinates);

// Calls visit(coordinates) for every setting of the coordinates of `axes`, the first slowest; the others stay 0.
// Stops early, returning true, when visit returns true.
template <class Visit>
bool any_coordinates(const Mesh& mesh, std::span<const std::size_t> axes, Visit&& visit) {
    std::vector<std::int64_t> coordinates(mesh.axes().size(), 0);
    for (;;) {
        if (visit(std::span<const std::int64_t>{coordinates})) return true;
        std::size_t i = axes.size();
        for (; i > 0; --i) {
            std::int64_t& coordinate = coordinates[axes[i - 1]];
            if (++coordinate < mesh.axes()[axes[i - 1]].size) break;
            coordinate = 0;
        }
        if (i == 0) return false;
    }
}

}  // namespace shardproof
