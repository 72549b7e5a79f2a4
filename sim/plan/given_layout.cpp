#include "sim/plan/given_layout.hpp"

#include <algorithm>
#include <map>

#include "oracle/model/error.hpp"
#include "sim/plan/declaration.hpp"
#include "sim/plan/dim_runs.hpp"
#include "sim/plan/shard_coverage.hpp"

namespace shardproof {
namespace {

bool holds_any_twice(const std::vector<IndexRuns>& owners) {
    IndexRuns all;
    for (const IndexRuns& runs : owners) all.insert(all.end(), runs.begin(), runs.end());
    std::ranges::sort(all, {}, &Run::begin);
    for (std::size_t i = 1; i < all.size(); ++i) {
        if (all[i].begin < all[i - 1].end) return true;
    }
    return false;
}

// One parameter of the file on its way into a plan.
class Taken {
public:
    Taken(const GivenLayout& given, const GivenParam& param, const Parameter& parameter, const Plan& plan)
        : given_{given}, param_{param}, parameter_{parameter}, plan_{plan} {}

    ParamPlacement placement(std::vector<CoverageFault>& contradictions) {
        check_shards();
        if (!param_.mesh && param_.placements.empty()) return by_shards();
        if (!param_.mesh) refuse(".mesh", "", "must be given where there are placements");
        ParamPlacement placed{.mesh = *param_.mesh, .placements = placements_on(plan_.mesh(*param_.mesh))};
        if (!param_.shards) return placed;
        if (param_.placements.empty()) return by_shards();
        const RankShards stored = stored_shards(placed);
        bool same = true;
        RankShards held = stored;
        for (const GivenShard& shard : *param_.shards) {
            std::vector<IndexRuns>& here = held[shard.rank.idx()];
            if (here == shard.index) continue;
            if (same) contradictions.push_back(contradiction(shard, here));
            same = false;
            here = shard.index;
        }
        if (same) return placed;
        return {.mesh = *param_.mesh,
                .placements = std::vector<Placement>(placed.placements.size(), Replicate{}),
                .shards = std::make_shared<const RankShards>(std::move(held))};
    }

private:
    [[noreturn]] void refuse(const std::string& field, std::string value, std::string rule) const {
        throw InputError({given_.file, param_.path + field, std::move(value), std::move(rule)});
    }

    void check_shards() const {
        if (!param_.shards) return;
        std::vector<bool> seen(static_cast<std::size_t>(plan_.world()), false);
        for (std::size_t s = 0; s < param_.shards->size(); ++s) {
            const GivenShard& shard = (*param_.shards)[s];
            const std::string path = ".shards[" + std::to_string(s) + "]";
            if (shard.rank.value() >= plan_.world()) {
                refuse(path + ".rank", std::to_string(shard.rank.value()),
                       "must be a rank of the world, 0 .. " + std::to_string(plan_.world() - 1));
            }
            if (seen[shard.rank.idx()])
                refuse(path + ".rank", std::to_string(shard.rank.value()), "must not come twice");
            seen[shard.rank.idx()] = true;
            if (shard.index.size() != parameter_.shape.size()) {
                refuse(path + ".index", std::to_string(shard.index.size()) + " entries",
                       "must have one a dim: " + std::to_string(parameter_.shape.size()));
            }
            for (std::size_t dim = 0; dim < shard.index.size(); ++dim) check_runs(shard.index[dim], dim, path);
        }
    }

    void check_runs(const IndexRuns& runs, std::size_t dim, const std::string& path) const {
        for (std::size_t i = 0; i < runs.size(); ++i) {
            if (runs[i].begin >= 0 && runs[i].begin < runs[i].end && runs[i].end <= parameter_.shape[dim]) continue;
            refuse(path + ".index[" + std::to_string(dim) + "][" + std::to_string(i) + "]",
                   std::to_string(runs[i].begin) + ".." + std::to_string(runs[i].end),
                   "must be a run [start, stop) with start < stop, within dim " + std::to_string(dim) + " of " +
                       std::to_string(parameter_.shape[dim]));
        }
    }

    std::vector<Placement> placements_on(const Mesh& mesh) const {
        std::vector<Placement> placements(mesh.axes().size(), Replicate{});
        for (const auto& [axis, placement] : param_.placements) {
            const std::string field = ".placements." + std::string{name_of(axis)};
            if (!mesh.has(axis)) refuse(field, to_string(placement), "must be an axis of the mesh " + mesh.name());
            const std::size_t i = mesh.axis_idx(axis);
            if (dim_of(placement) >= static_cast<std::ptrdiff_t>(parameter_.shape.size())) {
                refuse(
                    field, to_string(placement),
                    "must name a dim of " + parameter_.name + ", which has " + std::to_string(parameter_.shape.size()));
            }
            if (mesh.axes()[i].size == 1) continue;
            placements[i] = placement;
            if (auto* const owners = std::get_if<Owners>(&placements[i])) fill(*owners, mesh.axes()[i], field);
        }
        check_splits(placements, mesh);
        return placements;
    }

    // Storage is cut by the later axes first where a strided shard has their number of parts; any other split factor is
    // another layout, which shards can say.
    void check_splits(const std::vector<Placement>& placements, const Mesh& mesh) const {
        for (std::size_t i = 0; i < placements.size(); ++i) {
            const auto* const strided = std::get_if<StridedShard>(&placements[i]);
            if (strided == nullptr) continue;
            std::int64_t parts = 1;
            for (std::size_t later = i + 1; later < placements.size(); ++later) {
                if (dim_of(placements[later]) == static_cast<std::ptrdiff_t>(strided->dim))
                    parts *= mesh.axes()[later].size;
            }
            if (strided->split == parts) continue;
            refuse(".placements." + std::string{name_of(mesh.axes()[i].axis)}, to_string(placements[i]),
                   "must split into " + std::to_string(parts) + ", the parts that later axes make of dim " +
                       std::to_string(strided->dim) + "; another layout can be said by shards");
        }
    }

    // What the coordinates of the axis hold, from the shards of the ranks that lie there.
    void fill(Owners& owners, const MeshAxis& axis, const std::string& field) const {
        owners.runs.assign(static_cast<std::size_t>(axis.size), {});
        std::vector<bool> known(owners.runs.size(), false);
        for (const GivenShard& shard : param_.shards.value_or(std::vector<GivenShard>{})) {
            const auto c = static_cast<std::size_t>(shard.rank.value() / axis.stride % axis.size);
            if (!known[c]) owners.runs[c] = shard.index[owners.dim];
            known[c] = true;
        }
        // An owner list that the file declares is meant to hold what it holds.
        owners.redundant = holds_any_twice(owners.runs);
        if (std::ranges::find(known, false) == known.end()) return;
        refuse(field, to_string(Placement{owners}),
               "needs shards of every coordinate: an owner list is what ranks hold");
    }

    RankShards stored_shards(const ParamPlacement& placed) const {
        const Mesh& mesh = plan_.mesh(placed.mesh);
        const Layout layout{.mesh = &mesh, .placements = placed.placements};
        RankShards shards;
        for (std::int64_t r = 0; r < plan_.world(); ++r)
            shards.push_back(shard_index(layout, parameter_.shape, Rank{r}));
        return shards;
    }

    ParamPlacement by_shards() const {
        if (!param_.shards) refuse("", "", "must have placements, or shards");
        RankShards held(static_cast<std::size_t>(plan_.world()),
                        std::vector<IndexRuns>(parameter_.shape.size(), IndexRuns{}));
        for (const GivenShard& shard : *param_.shards) held[shard.rank.idx()] = shard.index;
        const std::vector<MeshKind> kinds = param_.mesh ? std::vector{*param_.mesh} : meshes_to_try();
        for (const MeshKind kind : kinds) {
            if (auto placements = product_form(plan_.mesh(kind), parameter_.shape, held))
                return {.mesh = kind, .placements = std::move(*placements)};
        }
        const MeshKind kind = kinds.front();
        return {.mesh = kind,
                .placements = std::vector<Placement>(plan_.mesh(kind).axes().size(), Replicate{}),
                .shards = std::make_shared<const RankShards>(std::move(held))};
    }

    // Experts are said on the mesh where rule sets have them, if they can be; all else is on the dense one.
    [[nodiscard]] std::vector<MeshKind> meshes_to_try() const {
        if (!is_routed_expert(parameter_.role)) return {MeshKind::dense};
        if (plan_.dims.ep() > 1) return {MeshKind::sparse, MeshKind::dense};
        return {MeshKind::dense, MeshKind::sparse};
    }

    [[nodiscard]] CoverageFault contradiction(const GivenShard& shard, const std::vector<IndexRuns>& placed) const {
        std::vector<std::int64_t> first(placed.size(), 0);
        for (std::size_t dim = 0; dim < placed.size(); ++dim) {
            if (!shard.index[dim].empty()) first[dim] = shard.index[dim].front().begin;
        }
        const std::string rank = std::to_string(shard.rank.value());
        return {.param = parameter_.name,
                .rank = shard.rank,
                .index = std::move(first),
                .why = "rank " + rank + "'s index says " + printed_index(shard.index) + ", its placements say " +
                       printed_index(placed)};
    }

    const GivenLayout& given_;
    const GivenParam& param_;
    const Parameter& parameter_;
    const Plan& plan_;
};

// A mesh as the file has it: the axes that are longer than 1 are those of the degrees, in whatever order.
void take_mesh(const GivenLayout& given, const GivenMesh& mesh, Mesh& target) {
    std::vector<std::pair<Axis, std::int64_t>> axes = mesh.axes;
    for (const MeshAxis& axis : target.axes()) {
        const auto found = std::ranges::find(axes, axis.axis, &std::pair<Axis, std::int64_t>::first);
        const std::string size = found == axes.end() ? "" : std::to_string(found->second);
        if (found == axes.end() ? axis.size == 1 : found->second == axis.size) continue;
        throw InputError({given.file, mesh.path + "." + std::string{name_of(axis.axis)}, size,
                          "must be " + std::to_string(axis.size) + ": that is what the degrees make it"});
    }
    for (const auto& [axis, size] : axes) {
        if (target.has(axis)) continue;
        throw InputError({given.file, mesh.path + "." + std::string{name_of(axis)}, std::to_string(size),
                          "must be an axis of this mesh"});
    }
    for (const MeshAxis& axis : target.axes()) {
        if (std::ranges::find(axes, axis.axis, &std::pair<Axis, std::int64_t>::first) == axes.end())
            axes.insert(axes.begin(), {axis.axis, 1});
    }
    target = Mesh::row_major(target.name(), std::move(axes));
}

// With an axis etp where the file's sparse mesh or the degrees have one: some rule sets make it of ranks that no degree
// names.
Meshes meshes_of(const GivenLayout& given, const ParallelDims& dims) {
    for (const GivenMesh& mesh : given.meshes) {
        const auto etp = std::ranges::find(mesh.axes, Axis::etp, &std::pair<Axis, std::int64_t>::first);
        if (mesh.kind != MeshKind::sparse || etp == mesh.axes.end()) continue;
        const std::int64_t inner = dims.dp_shard() * dims.cp() * dims.tp() / dims.ep();
        if (etp->second < 1 || inner % etp->second != 0) {
            throw InputError({given.file, mesh.path + ".etp", std::to_string(etp->second),
                              "must divide dp_shard*cp*tp/ep = " + std::to_string(inner)});
        }
        return make_meshes_with_etp(dims, etp->second);
    }
    return dims.has_etp() ? make_meshes_with_etp(dims, dims.etp()) : make_meshes(dims);
}

// "layers.12.attention.wq.weight" -> 12.
std::optional<std::int64_t> layer_named(const std::string& name) {
    constexpr std::string_view kPrefix = "layers.";
    if (!name.starts_with(kPrefix)) return std::nullopt;
    const std::string digits = name.substr(kPrefix.size(), name.find('.', kPrefix.size()) - kPrefix.size());
    if (digits.empty() || digits.size() > 9 || digits.find_first_not_of("0123456789") != std::string::npos)
        return std::nullopt;
    return std::stoll(digits);
}

std::map<std::string, const GivenParam*, std::less<>> by_name(const GivenLayout& given, const ModelConfig& config,
                                                              const std::vector<Parameter>& parameters) {
    std::map<std::string, const GivenParam*, std::less<>> found;
    for (const GivenParam& param : given.params) found.emplace(param.name, &param);
    SP_ASSERT(found.size() == given.params.size());
    std::map<std::string, const Parameter*, std::less<>> known;
    for (const Parameter& parameter : parameters) known.emplace(parameter.name, &parameter);
    for (const GivenParam& param : given.params) {
        const auto place = known.find(param.name);
        if (place == known.end()) {
            if (given.cut_model && layer_named(param.name).value_or(-1) >= config.num_layers) continue;
            throw InputError(
                {given.file, param.path + ".name", printable(param.name), "must be a parameter of the model"});
        }
        const Shape& shape = place->second->shape;
        if (param.shape && *param.shape != shape) {
            throw InputError({given.file, param.path + ".shape", to_string(*param.shape),
                              "must be " + to_string(shape) + ", that of " + param.name});
        }
    }
    return found;
}

void check_groups(const GivenLayout& given, const Meshes& meshes) {
    const std::vector<NamedGroups> ours = named_groups(meshes);
    for (const GivenGroups& theirs : given.groups) {
        const auto found = std::ranges::find(ours, theirs.name, &NamedGroups::name);
        if (found == ours.end())
            throw InputError({given.file, theirs.path, "", "must be under the name of an axis, batch or loss"});
        if (found->groups != theirs.groups)
            throw InputError({given.file, theirs.path, "", "must be the groups that meshes and degrees make"});
    }
}

void check_checkpoint(const GivenLayout& given, const GivenParam& param, const Parameter& parameter) {
    if (!param.checkpoint) return;
    for (std::size_t i = 0; i < std::max(param.checkpoint->size(), parameter.sources.size()); ++i) {
        const std::string theirs = i < param.checkpoint->size() ? (*param.checkpoint)[i] : "";
        const std::string ours = i < parameter.sources.size() ? parameter.sources[i].tensor : "";
        if (theirs == ours) continue;
        throw InputError({given.file, param.path + ".checkpoint[" + std::to_string(i) + "]", printable(theirs),
                          ours.empty() ? "is one tensor more than " + parameter.name + " has" : "must be " + ours});
    }
}

}  // namespace

Plan make_plan(const ModelConfig& config, std::vector<Parameter> parameters, const std::vector<DType>& dtypes,
               const ParallelDims& dims, const GivenLayout& given) {
    SP_ASSERT(parameters.size() == dtypes.size());
    require_placeable(dims, parameters);
    Plan plan{dims, given.rules, meshes_of(given, dims), config, {}, {}};
    for (const GivenMesh& mesh : given.meshes)
        take_mesh(given, mesh, mesh.kind == MeshKind::dense ? plan.meshes.dense : plan.meshes.sparse);
    check_groups(given, plan.meshes);
    const auto given_of = by_name(given, config, parameters);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const auto found = given_of.find(parameters[i].name);
        ParamPlacement placement;
        if (found == given_of.end()) {
            placement.placements.assign(plan.meshes.dense.axes().size(), Replicate{});
            placement.shards = std::make_shared<const RankShards>(static_cast<std::size_t>(plan.world()),
                                                                  std::vector<IndexRuns>(parameters[i].shape.size()));
        } else {
            const GivenParam& param = *found->second;
            if (param.dtype && *param.dtype != name_of(dtypes[i])) {
                throw InputError({given.file, param.path + ".dtype", printable(*param.dtype),
                                  "must be " + std::string{name_of(dtypes[i])} + ", that of the model"});
            }
            check_checkpoint(given, param, parameters[i]);
            placement = Taken{given, param, parameters[i], plan}.placement(plan.contradictions);
            placement.declared = param.declared;
        }
        plan.params.push_back({std::move(parameters[i]), dtypes[i], std::move(placement)});
        append_placement_warnings(plan, plan.params.back(), plan.warnings);
    }
    for (std::string& line : to_lines(declaration_violations(plan))) plan.warnings.push_back(std::move(line));
    return plan;
}

}  // namespace shardproof
