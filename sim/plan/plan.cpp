#include "sim/plan/plan.hpp"

#include "oracle/model/error.hpp"
#include "sim/plan/declaration.hpp"
#include "sim/plan/dim_runs.hpp"

namespace shardproof {
namespace {

// True where described and stored runs agree for a reason that needs no look at the ranks: no strided shard, or one
// over one plain shard that cuts the dim evenly (facts 2.3).
bool agree_by_form(const Mesh& mesh, std::span<const Placement> placements, const std::vector<std::size_t>& axes,
                   std::int64_t extent) {
    const StridedShard* strided = nullptr;
    std::int64_t num_strided = 0;
    for (const std::size_t axis : axes) {
        if (const auto* shard = std::get_if<StridedShard>(&placements[axis])) {
            strided = shard;
            ++num_strided;
        }
    }
    if (strided == nullptr) return true;
    return num_strided == 1 && axes.size() == 2 && std::get_if<ShardDim>(&placements[axes[1]]) != nullptr &&
           mesh.axes()[axes[1]].size == strided->split && extent % strided->split == 0;
}

std::string printed(const IndexRuns& runs) {
    std::string text;
    for (const Run& run : runs) {
        if (!text.empty()) text += '+';
        text += std::to_string(run.begin) + ".." + std::to_string(run.end);
    }
    if (text.empty()) text = "nothing";
    return text;
}

}  // namespace

void append_placement_warnings(const Plan& plan, const ParamPlan& param, std::vector<std::string>& warnings) {
    if (param.placement.shards) return;
    const Mesh& mesh = plan.mesh(param.placement.mesh);
    const std::vector<Placement>& placements = param.placement.placements;
    for (std::size_t dim = 0; dim < param.parameter.shape.size(); ++dim) {
        const std::int64_t extent = param.parameter.shape[dim];
        const std::vector<std::size_t> axes = axes_on(mesh, placements, dim);
        if (axes.size() < 2 || agree_by_form(mesh, placements, axes, extent)) continue;
        const bool found = any_coordinates(mesh, axes, [&](std::span<const std::int64_t> coordinates) {
            const IndexRuns stored = stored_runs(mesh, placements, dim, extent, coordinates);
            const IndexRuns described = described_runs(mesh, placements, dim, extent, coordinates);
            if (stored == described) return false;
            warnings.push_back(param.parameter.name + ": dim " + std::to_string(dim) + " of " + std::to_string(extent) +
                               " is cut unevenly by two axes: rank " +
                               std::to_string(mesh.rank_at(coordinates).value()) + " holds " + printed(stored) +
                               ", its DTensor placements say " + printed(described));
            return true;
        });
        if (found) return;
    }
}

std::size_t Plan::param_idx(std::string_view name) const {
    for (std::size_t i = 0; i < params.size(); ++i) {
        if (params[i].parameter.name == name) return i;
    }
    SP_ASSERT(!"the plan has a parameter of this name");
    return 0;
}

void require_placeable(const ParallelDims& dims, const std::vector<Parameter>& parameters) {
    if (dims.pp() == 1 || parameters.empty()) return;
    throw InputError{{"command line", "--pp", std::to_string(dims.pp()),
                      "must be 1 to place parameters (the first is " + parameters.front().name + ")"}};
}

std::vector<DType> dtypes_of(const Model& model) {
    std::vector<DType> dtypes;
    dtypes.reserve(model.parameters.size());
    for (const Parameter& parameter : model.parameters) dtypes.push_back(dtype_of(model, parameter));
    return dtypes;
}

Plan make_plan(const ModelConfig& config, std::vector<Parameter> parameters, const std::vector<DType>& dtypes,
               const ParallelDims& dims, const RuleSet& rules, const RuleOptions& options) {
    SP_ASSERT(parameters.size() == dtypes.size());
    check_rules(rules, dims, config, options);
    require_placeable(dims, parameters);
    Plan plan{dims, std::string{rules.name}, rules.meshes(dims), config, {}, {}};
    plan.params.reserve(parameters.size());
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        std::optional<ParamPlacement> placement = rules.place(parameters[i], config, dims, options);
        if (!placement) {
            throw InputError{{"", parameters[i].name, std::string{name_of(parameters[i].role)},
                              "is a role that rules " + plan.rules + " do not cover"}};
        }
        SP_ASSERT(placement->placements.size() == plan.mesh(placement->mesh).axes().size());
        plan.params.push_back({std::move(parameters[i]), dtypes[i], std::move(*placement)});
        append_placement_warnings(plan, plan.params.back(), plan.warnings);
    }
    for (std::string& line : to_lines(declaration_violations(plan))) plan.warnings.push_back(std::move(line));
    return plan;
}

Plan make_plan(const Model& model, const ParallelDims& dims, const RuleSet& rules, const RuleOptions& options) {
    return make_plan(model.config, model.parameters, dtypes_of(model), dims, rules, options);
}

std::vector<IndexRuns> shard_of(const Plan& plan, std::size_t param_idx, Rank rank) {
    const ParamPlan& param = plan.params.at(param_idx);
    if (param.placement.shards) return param.placement.shards->at(rank.idx());
    const Mesh& mesh = plan.mesh(param.placement.mesh);
    const std::vector<std::int64_t> coordinates = mesh.coordinates(rank);
    const Shape& shape = param.parameter.shape;
    std::vector<IndexRuns> index(shape.size());
    for (std::size_t dim = 0; dim < shape.size(); ++dim) {
        index[dim] = stored_runs(mesh, param.placement.placements, dim, shape[dim], coordinates);
    }
    return index;
}

std::int64_t shard_bytes(const Plan& plan, std::size_t param_idx, Rank rank) {
    return num_elements(local_shape(shard_of(plan, param_idx, rank))) * bits_of(plan.params.at(param_idx).dtype) / 8;
}

}  // namespace shardproof
