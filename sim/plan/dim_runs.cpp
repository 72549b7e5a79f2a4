#include "sim/plan/dim_runs.hpp"

#include <algorithm>

#include "oracle/model/error.hpp"

namespace shardproof {
namespace {

// Positions `window` of the concatenation of `runs`, appended to `out`.
void append_positions(IndexRuns& out, const IndexRuns& runs, Run window) {
    std::int64_t position = 0;
    for (const Run& run : runs) {
        const std::int64_t from = std::max(window.begin, position);
        const std::int64_t to = std::min(window.end, position + run.size());
        if (from < to) append_run(out, {run.begin + (from - position), run.begin + (to - position)});
        position += run.size();
    }
}

// An owner list names positions of what the axes to its left leave: of the whole dim, where it is the first.
IndexRuns owned(const IndexRuns& runs, const Owners& owners, std::int64_t idx) {
    const std::int64_t extent = num_indices(runs);
    SP_ASSERT(idx >= 0 && static_cast<std::size_t>(idx) < owners.runs.size());
    IndexRuns result;
    for (const Run& run : owners.runs[static_cast<std::size_t>(idx)]) {
        SP_ASSERT(run.begin >= 0 && run.begin <= run.end && run.end <= extent);
        append_positions(result, runs, run);
    }
    return result;
}

IndexRuns whole(std::int64_t extent) { return extent > 0 ? IndexRuns{{0, extent}} : IndexRuns{}; }

// torch's _StridedShard: cut into `split` pieces, each piece into `parts`, and take part `idx` of every piece.
IndexRuns strided_chunk(const IndexRuns& runs, std::int64_t split, std::int64_t parts, std::int64_t idx) {
    const std::int64_t extent = num_indices(runs);
    IndexRuns result;
    for (std::int64_t piece = 0; piece < split; ++piece) {
        const Run outer = chunk(extent, split, piece);
        if (outer.size() == 0) break;
        const Run inner = chunk(outer.size(), parts, idx);
        append_positions(result, runs, {outer.begin + inner.begin, outer.begin + inner.end});
    }
    return result;
}

}  // namespace

std::ptrdiff_t dim_of(const Placement& placement) {
    if (const auto* shard = std::get_if<ShardDim>(&placement)) return static_cast<std::ptrdiff_t>(shard->dim);
    if (const auto* shard = std::get_if<StridedShard>(&placement)) return static_cast<std::ptrdiff_t>(shard->dim);
    if (const auto* owners = std::get_if<Owners>(&placement)) return static_cast<std::ptrdiff_t>(owners->dim);
    return -1;
}

std::vector<std::size_t> axes_on(const Mesh& mesh, std::span<const Placement> placements, std::size_t dim) {
    SP_ASSERT(placements.size() == mesh.axes().size());
    std::vector<std::size_t> axes;
    for (std::size_t i = 0; i < placements.size(); ++i) {
        if (dim_of(placements[i]) == static_cast<std::ptrdiff_t>(dim)) axes.push_back(i);
    }
    return axes;
}

void append_run(IndexRuns& runs, Run run) {
    if (run.size() <= 0) return;
    if (!runs.empty() && runs.back().end == run.begin) {
        runs.back().end = run.end;
    } else {
        runs.push_back(run);
    }
}

Run chunk(std::int64_t extent, std::int64_t parts, std::int64_t idx) {
    SP_ASSERT(extent >= 0 && parts >= 1 && idx >= 0 && idx < parts);
    const std::int64_t size = extent / parts + (extent % parts != 0 ? 1 : 0);
    return {std::min(extent, size * idx), std::min(extent, size * (idx + 1))};
}

std::vector<std::int64_t> slices_of(std::int64_t num_rows, std::size_t num_members) {
    std::vector<std::int64_t> rows(num_members);
    for (std::size_t m = 0; m < num_members; ++m)
        rows[m] = chunk(num_rows, static_cast<std::int64_t>(num_members), static_cast<std::int64_t>(m)).size();
    return rows;
}

IndexRuns chunk(const IndexRuns& runs, std::int64_t parts, std::int64_t idx) {
    IndexRuns result;
    append_positions(result, runs, chunk(num_indices(runs), parts, idx));
    return result;
}

IndexRuns stored_runs(const Mesh& mesh, std::span<const Placement> placements, std::size_t dim, std::int64_t extent,
                      std::span<const std::int64_t> coordinates) {
    SP_ASSERT(placements.size() == mesh.axes().size());
    IndexRuns runs = whole(extent);
    for (std::size_t i = 0; i < placements.size(); ++i) {
        if (const auto* shard = std::get_if<ShardDim>(&placements[i]); shard && shard->dim == dim) {
            runs = chunk(runs, mesh.axes()[i].size, coordinates[i]);
        } else if (const auto* owners = std::get_if<Owners>(&placements[i]); owners && owners->dim == dim) {
            runs = owned(runs, *owners, coordinates[i]);
        }
    }
    for (std::size_t i = placements.size(); i-- > 0;) {
        if (const auto* shard = std::get_if<StridedShard>(&placements[i]); shard && shard->dim == dim) {
            runs = chunk(runs, mesh.axes()[i].size, coordinates[i]);
        }
    }
    return runs;
}

IndexRuns described_runs(const Mesh& mesh, std::span<const Placement> placements, std::size_t dim, std::int64_t extent,
                         std::span<const std::int64_t> coordinates) {
    SP_ASSERT(placements.size() == mesh.axes().size());
    IndexRuns runs = whole(extent);
    for (std::size_t i = 0; i < placements.size(); ++i) {
        const std::int64_t size = mesh.axes()[i].size;
        if (const auto* shard = std::get_if<ShardDim>(&placements[i]); shard && shard->dim == dim) {
            runs = chunk(runs, size, coordinates[i]);
        } else if (const auto* strided = std::get_if<StridedShard>(&placements[i]); strided && strided->dim == dim) {
            runs = strided_chunk(runs, strided->split, size, coordinates[i]);
        } else if (const auto* owners = std::get_if<Owners>(&placements[i]); owners && owners->dim == dim) {
            runs = owned(runs, *owners, coordinates[i]);
        }
    }
    return runs;
}

}  // namespace shardproof
