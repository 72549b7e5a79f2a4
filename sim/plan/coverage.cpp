// Sums and proofs over all ranks. Parameters that share mesh, placements and shape share one layout, and a layout is
// judged a dim at a time over the coordinates of the axes that cut the dim: the held boxes are products of those runs.
#include <algorithm>
#include <optional>

#include "oracle/model/error.hpp"
#include "sim/plan/dim_runs.hpp"
#include "sim/plan/plan.hpp"
#include "sim/plan/shard_coverage.hpp"

namespace shardproof {
namespace {

struct DistinctLayout {
    MeshKind mesh{};
    const std::vector<Placement>* placements = nullptr;
    const Shape* shape = nullptr;
    std::vector<const ParamPlan*> params;
};

std::vector<DistinctLayout> distinct_layouts(const Plan& plan) {
    std::vector<DistinctLayout> layouts;
    for (const ParamPlan& param : plan.params) {
        if (param.placement.shards) continue;
        const auto same = std::find_if(layouts.begin(), layouts.end(), [&](const DistinctLayout& layout) {
            return layout.mesh == param.placement.mesh && *layout.shape == param.parameter.shape &&
                   *layout.placements == param.placement.placements;
        });
        if (same != layouts.end()) {
            same->params.push_back(&param);
        } else {
            layouts.push_back({param.placement.mesh, &param.placement.placements, &param.parameter.shape, {&param}});
        }
    }
    return layouts;
}

// The extent of one dim on every rank, as a table over the coordinates of the axes that cut it.
struct ExtentTable {
    std::vector<MeshAxis> axes;           // outermost first
    std::vector<std::int64_t> extents;    // row-major over `axes`
    [[nodiscard]] std::int64_t at(std::int64_t rank) const {
        std::int64_t flat = 0;
        for (const MeshAxis& axis : axes) flat = flat * axis.size + rank / axis.stride % axis.size;
        return extents[static_cast<std::size_t>(flat)];
    }
};

ExtentTable extents_of(const Mesh& mesh, const DistinctLayout& layout, std::size_t dim) {
    ExtentTable table;
    const std::vector<std::size_t> axes = axes_on(mesh, *layout.placements, dim);
    for (const std::size_t axis : axes) table.axes.push_back(mesh.axes()[axis]);
    any_coordinates(mesh, axes, [&](std::span<const std::int64_t> coordinates) {
        table.extents.push_back(
            num_indices(stored_runs(mesh, *layout.placements, dim, (*layout.shape)[dim], coordinates)));
        return false;
    });
    return table;
}

// What keeps a layout from being judged at all: a placement that names no dim or no valid part.
std::optional<std::string> malformed(const Mesh& mesh, const DistinctLayout& layout) {
    for (std::size_t i = 0; i < layout.placements->size(); ++i) {
        const Placement& placement = (*layout.placements)[i];
        const std::string axis{name_of(mesh.axes()[i].axis)};
        if (std::holds_alternative<Partial>(placement)) return "is P on axis " + axis + ": no rank holds its values";
        const std::ptrdiff_t dim = dim_of(placement);
        if (dim >= static_cast<std::ptrdiff_t>(layout.shape->size())) {
            return to_string(placement) + " on axis " + axis + " shards a dim that it lacks";
        }
        const auto* const owners = std::get_if<Owners>(&placement);
        if (owners == nullptr) continue;
        if (static_cast<std::int64_t>(owners->runs.size()) != mesh.axes()[i].size) {
            return "the owner list on axis " + axis + " has " + std::to_string(owners->runs.size()) +
                   " entries for a size of " + std::to_string(mesh.axes()[i].size);
        }
        const std::int64_t extent = (*layout.shape)[owners->dim];
        for (const IndexRuns& runs : owners->runs) {
            for (const Run& run : runs) {
                if (run.begin < 0 || run.begin > run.end || run.end > extent) {
                    return "the owner list on axis " + axis + " names " + std::to_string(run.begin) + ".." +
                           std::to_string(run.end) + " of dim " + std::to_string(owners->dim) + ", which has " +
                           std::to_string(extent);
                }
            }
        }
    }
    return std::nullopt;
}

// Of the ranks of the first replica that hold index `at` of `dim` the last: with others before it, one too many.
std::optional<Rank> last_holder(const Mesh& mesh, const DistinctLayout& layout, std::size_t dim, std::int64_t at) {
    std::optional<Rank> holder;
    any_coordinates(mesh, axes_on(mesh, *layout.placements, dim), [&](std::span<const std::int64_t> coordinates) {
        for (const Run& run : stored_runs(mesh, *layout.placements, dim, (*layout.shape)[dim], coordinates)) {
            if (run.begin <= at && at < run.end) holder = mesh.rank_at(coordinates);
        }
        return false;
    });
    return holder;
}

bool is_redundant(const Placement& placement, std::size_t dim) {
    const auto* const owners = std::get_if<Owners>(&placement);
    return owners != nullptr && owners->redundant && owners->dim == dim;
}

// Index ranges of `dim` that a replica holds another number of times than once; where an owner list is meant to hold
// indices more than once, those that none holds.
std::vector<CoverageFault> dim_violations(const Mesh& mesh, const DistinctLayout& layout, std::size_t dim) {
    const std::int64_t extent = (*layout.shape)[dim];
    std::vector<std::int64_t> begins;
    std::vector<std::int64_t> ends;
    any_coordinates(mesh, axes_on(mesh, *layout.placements, dim), [&](std::span<const std::int64_t> coordinates) {
        for (const Run& run : stored_runs(mesh, *layout.placements, dim, extent, coordinates)) {
            begins.push_back(run.begin);
            ends.push_back(run.end);
        }
        return false;
    });
    std::sort(begins.begin(), begins.end());
    std::sort(ends.begin(), ends.end());

    const bool redundant = std::any_of(layout.placements->begin(), layout.placements->end(),
                                       [&](const Placement& placement) { return is_redundant(placement, dim); });
    std::vector<CoverageFault> faults;
    std::size_t next_begin = 0;
    std::size_t next_end = 0;
    for (std::int64_t at = 0; at < extent;) {
        while (next_begin < begins.size() && begins[next_begin] <= at) ++next_begin;
        while (next_end < ends.size() && ends[next_end] <= at) ++next_end;
        std::int64_t until = extent;
        if (next_begin < begins.size()) until = std::min(until, begins[next_begin]);
        if (next_end < ends.size()) until = std::min(until, ends[next_end]);
        if (const std::size_t times = next_begin - next_end; redundant ? times < 1 : times != 1) {
            std::vector<std::int64_t> first(layout.shape->size(), 0);
            first[dim] = at;
            faults.push_back({.param = {},
                              .rank = times > 1 ? last_holder(mesh, layout, dim, at) : std::nullopt,
                              .index = std::move(first),
                              .why = "dim " + std::to_string(dim) + " indices " + std::to_string(at) + ".." +
                                     std::to_string(until) + " are held " + std::to_string(times) +
                                     " times by each replica, not once"});
        }
        at = until;
    }
    return faults;
}

}  // namespace

std::vector<std::int64_t> bytes_per_rank(const Plan& plan) {
    std::vector<std::int64_t> bytes(static_cast<std::size_t>(plan.world()), 0);
    for (const DistinctLayout& layout : distinct_layouts(plan)) {
        const Mesh& mesh = plan.mesh(layout.mesh);
        std::int64_t scale = 0;  // bytes of one element of every parameter with this layout
        for (const ParamPlan* param : layout.params) scale += bits_of(param->dtype);
        SP_ASSERT(scale % 8 == 0);
        scale /= 8;
        std::vector<ExtentTable> cut;
        for (std::size_t dim = 0; dim < layout.shape->size(); ++dim) {
            ExtentTable table = extents_of(mesh, layout, dim);
            if (table.axes.empty()) {
                scale *= table.extents.front();
            } else {
                cut.push_back(std::move(table));
            }
        }
        for (std::size_t rank = 0; rank < bytes.size(); ++rank) {
            std::int64_t held = scale;
            for (const ExtentTable& table : cut) held *= table.at(static_cast<std::int64_t>(rank));
            bytes[rank] += held;
        }
    }
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        if (!plan.params[p].placement.shards) continue;
        for (std::size_t rank = 0; rank < bytes.size(); ++rank)
            bytes[rank] += shard_bytes(plan, p, Rank{static_cast<std::int64_t>(rank)});
    }
    return bytes;
}

std::vector<CoverageFault> coverage_faults(const Plan& plan) {
    std::vector<CoverageFault> faults = plan.contradictions;
    for (const DistinctLayout& layout : distinct_layouts(plan)) {
        const Mesh& mesh = plan.mesh(layout.mesh);
        std::vector<CoverageFault> found;
        if (const std::optional<std::string> why = malformed(mesh, layout)) {
            found.push_back({.param = {}, .why = *why});
        } else {
            for (std::size_t dim = 0; dim < layout.shape->size(); ++dim) {
                for (CoverageFault& fault : dim_violations(mesh, layout, dim)) found.push_back(std::move(fault));
            }
        }
        for (const ParamPlan* param : layout.params) {
            for (CoverageFault fault : found) {
                fault.param = param->parameter.name;
                faults.push_back(std::move(fault));
            }
        }
    }
    for (const ParamPlan& param : plan.params) {
        if (!param.placement.shards) continue;
        for (CoverageFault& fault : shard_faults(param)) faults.push_back(std::move(fault));
    }
    return faults;
}

std::vector<std::string> coverage_violations(const Plan& plan) {
    std::vector<std::string> lines;
    for (const CoverageFault& fault : coverage_faults(plan)) lines.push_back(fault.param + ": " + fault.why);
    return lines;
}

}  // namespace shardproof
