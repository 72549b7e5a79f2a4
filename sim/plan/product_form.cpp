// From what ranks hold to placements on the axes of a mesh, where that can be said.
#include <algorithm>

#include "oracle/model/error.hpp"
#include "sim/plan/dim_runs.hpp"
#include "sim/plan/given_layout.hpp"

namespace shardproof {
namespace {

// Whether two ranks that differ on that axis alone hold other runs of the dim.
bool depends_on(const Mesh& mesh, const RankShards& shards, std::size_t dim, const MeshAxis& axis) {
    if (axis.size == 1) return false;
    for (std::size_t r = 0; r < shards.size(); ++r) {
        const Rank first = mesh.first_of_group(Rank{static_cast<std::int64_t>(r)}, axis.axis);
        if (shards[r][dim] != shards[first.idx()][dim]) return true;
    }
    SP_ASSERT(static_cast<std::int64_t>(shards.size()) == mesh.num_ranks());
    return false;
}

bool holds(const Mesh& mesh, std::span<const Placement> placements, const Shape& shape, const RankShards& shards,
           std::size_t dim) {
    for (std::size_t r = 0; r < shards.size(); ++r) {
        const std::vector<std::int64_t> coordinates = mesh.coordinates(Rank{static_cast<std::int64_t>(r)});
        if (stored_runs(mesh, placements, dim, shape[dim], coordinates) != shards[r][dim]) return false;
    }
    return true;
}

// Whether these are all indices of the dim, each once: otherwise ranks are named rather than an axis.
bool deals_once(const std::vector<IndexRuns>& owners, std::int64_t extent) {
    IndexRuns all;
    for (const IndexRuns& runs : owners) all.insert(all.end(), runs.begin(), runs.end());
    std::ranges::sort(all, {}, &Run::begin);
    std::int64_t at = 0;
    for (const Run& run : all) {
        if (run.begin != at) return false;
        at = run.end;
    }
    return at == extent;
}

// The ways in which one dim may be cut by these axes, the plainest first.
std::vector<std::vector<Placement>> candidates(const Mesh& mesh, const RankShards& shards, std::size_t dim,
                                               const std::vector<std::size_t>& axes, std::int64_t extent) {
    if (axes.empty()) return {{}};
    if (axes.size() == 1) {
        const MeshAxis& axis = mesh.axes()[axes[0]];
        Owners owners{.dim = dim, .runs = {}};
        for (std::int64_t c = 0; c < axis.size; ++c)
            owners.runs.push_back(shards[static_cast<std::size_t>(c * axis.stride)][dim]);
        if (!deals_once(owners.runs, extent)) return {{ShardDim{dim}}};
        return {{ShardDim{dim}}, {std::move(owners)}};
    }
    if (axes.size() == 2) {
        const std::int64_t split = mesh.axes()[axes[1]].size;
        return {{ShardDim{dim}, ShardDim{dim}}, {StridedShard{dim, split}, ShardDim{dim}}};
    }
    return {};
}

}  // namespace

std::optional<std::vector<Placement>> product_form(const Mesh& mesh, const Shape& shape, const RankShards& shards) {
    std::vector<Placement> placements(mesh.axes().size(), Replicate{});
    for (std::size_t dim = 0; dim < shape.size(); ++dim) {
        std::vector<std::size_t> axes;
        for (std::size_t i = 0; i < mesh.axes().size(); ++i) {
            if (depends_on(mesh, shards, dim, mesh.axes()[i])) axes.push_back(i);
        }
        const bool taken =
            std::ranges::any_of(axes, [&](std::size_t i) { return !std::holds_alternative<Replicate>(placements[i]); });
        if (taken) return std::nullopt;
        bool found = false;
        for (const std::vector<Placement>& candidate : candidates(mesh, shards, dim, axes, shape[dim])) {
            std::vector<Placement> tried = placements;
            for (std::size_t i = 0; i < candidate.size(); ++i) tried[axes[i]] = candidate[i];
            if (!holds(mesh, tried, shape, shards, dim)) continue;
            placements = std::move(tried);
            found = true;
            break;
        }
        if (!found) return std::nullopt;
    }
    return placements;
}

}  // namespace shardproof
