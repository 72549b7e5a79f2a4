#include "sim/plan/shard.hpp"

#include "oracle/model/error.hpp"
#include "sim/plan/dim_runs.hpp"

namespace shardproof {

std::vector<IndexRuns> shard_index(const Layout& layout, const Shape& shape, Rank rank) {
    SP_ASSERT(layout.mesh != nullptr);
    const std::vector<std::int64_t> coordinates = layout.mesh->coordinates(rank);
    std::vector<IndexRuns> index(shape.size());
    for (std::size_t dim = 0; dim < shape.size(); ++dim) {
        index[dim] = stored_runs(*layout.mesh, layout.placements, dim, shape[dim], coordinates);
    }
    return index;
}

std::vector<IndexRuns> described_index(const Layout& layout, const Shape& shape, Rank rank) {
    SP_ASSERT(layout.mesh != nullptr);
    const std::vector<std::int64_t> coordinates = layout.mesh->coordinates(rank);
    std::vector<IndexRuns> index(shape.size());
    for (std::size_t dim = 0; dim < shape.size(); ++dim) {
        index[dim] = described_runs(*layout.mesh, layout.placements, dim, shape[dim], coordinates);
    }
    return index;
}

Shape local_shape(const std::vector<IndexRuns>& index) {
    Shape shape(index.size());
    for (std::size_t dim = 0; dim < index.size(); ++dim) shape[dim] = num_indices(index[dim]);
    return shape;
}

}  // namespace shardproof
