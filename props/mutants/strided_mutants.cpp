#include "props/mutants/strided_mutants.hpp"

#include <algorithm>
#include <variant>

#include "sim/plan/load_plan.hpp"

namespace shardproof::props::mutant {

std::optional<Planted> strided_left_to_right(const Healthy& healthy) {
    const Plan& plan = healthy.plan;
    const auto is_strided = [](const Placement& placement) { return std::holds_alternative<StridedShard>(placement); };
    const bool any = std::ranges::any_of(plan.params, [&](const ParamPlan& param) {
        return std::ranges::any_of(param.placement.placements, is_strided);
    });
    if (!any) return std::nullopt;
    Planted planted;
    planted.faults.on_load = [&plan](Rank rank, std::size_t p, LoadPlan& load_plan) {
        const ParamPlan& param = plan.params[p];
        Layout layout{.mesh = &plan.mesh(param.placement.mesh), .placements = param.placement.placements};
        for (Placement& placement : layout.placements) {
            if (const auto* strided = std::get_if<StridedShard>(&placement)) placement = ShardDim{strided->dim};
        }
        const std::vector<IndexRuns> index = shard_index(layout, param.parameter.shape, rank);
        // Uneven cuts have another shape, which no loader takes.
        if (local_shape(index) == load_plan.shape) load_plan = make_load_plan(param.parameter, param.dtype, index);
    };
    return planted;
}

namespace {

// How much later than planned a rank reads a dim that is cut twice, when each part of it is padded for FSDP.
struct Late {
    std::size_t dim = 0;
    std::int64_t by = 0;
};
Late late_by_padding(const Plan& plan, std::size_t p, Rank rank) {
    const ParamPlan& param = plan.params[p];
    const Mesh& mesh = plan.mesh(param.placement.mesh);
    const std::vector<Placement>& placements = param.placement.placements;
    for (std::size_t axis = 0; axis < placements.size(); ++axis) {
        const auto* const strided = std::get_if<StridedShard>(&placements[axis]);
        if (strided == nullptr) continue;
        const auto outer = std::ranges::find(placements, Placement{ShardDim{strided->dim}}) - placements.begin();
        if (outer == std::ssize(placements)) continue;
        const MeshAxis& cut_first = mesh.axes()[static_cast<std::size_t>(outer)];
        const std::int64_t extent = param.parameter.shape[strided->dim];
        const std::int64_t part = chunk(extent, cut_first.size, 0).size();
        const std::int64_t padded = mesh.axes()[axis].size * chunk(part, mesh.axes()[axis].size, 0).size();
        const IndexRuns runs = shard_of(plan, p, rank)[strided->dim];
        if (runs.empty()) continue;
        // As far as there are rows to read.
        const std::int64_t by = mesh.coordinate(rank, cut_first.axis) * (padded - part);
        return {strided->dim, std::min(by, extent - runs.back().end)};
    }
    return {};
}

}  // namespace

std::optional<Planted> padding_kept(const Healthy& healthy) {
    const Plan& plan = healthy.plan;
    bool any = false;
    for (std::size_t p = 0; p < plan.params.size() && !any; ++p) {
        for (std::int64_t r = 0; r < plan.world() && !any; ++r) any = late_by_padding(plan, p, Rank{r}).by > 0;
    }
    if (!any) return std::nullopt;
    Planted planted;
    planted.faults.on_load = [&plan](Rank rank, std::size_t p, LoadPlan& load_plan) {
        const Late late = late_by_padding(plan, p, rank);
        if (late.by == 0) return;
        std::vector<IndexRuns> index = shard_of(plan, p, rank);
        for (Run& run : index[late.dim]) run = {run.begin + late.by, run.end + late.by};
        load_plan = make_load_plan(plan.params[p].parameter, plan.params[p].dtype, index);
    };
    return planted;
}

}  // namespace shardproof::props::mutant
