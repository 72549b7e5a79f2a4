// Causes: matrices that are taken for one another, fused or cut otherwise than planned.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/verify/cause_rules.hpp"
#include "sim/verify/kv_heads.hpp"

namespace shardproof::verify {
namespace {

std::optional<std::size_t> param_with(const Plan& plan, Role role, std::optional<std::int64_t> layer) {
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        const Parameter& parameter = plan.params[p].parameter;
        if (parameter.role == role && parameter.layer == layer) return p;
    }
    return std::nullopt;
}

// Parameters that programs keep as one tensor, in its order.
struct Fused {
    const char* what;
    std::vector<Role> roles;
};
const std::vector<Fused>& fused_groups() {
    static const std::vector<Fused> kGroups{
        {"gate and up", {Role::expert_w1, Role::expert_w3}},
        {"gate and up", {Role::ffn_w1, Role::ffn_w3}},
        {"gate and up", {Role::shared_w1, Role::shared_w3}},
        {"q, k and v", {Role::wq, Role::wk, Role::wv}},
    };
    return kGroups;
}

struct Membership {
    std::vector<std::size_t> params;  // of the group, in order
    std::size_t member = 0;
};
std::optional<Membership> membership(const Plan& plan, std::size_t param, std::string_view what) {
    const Parameter& parameter = plan.params[param].parameter;
    for (const Fused& group : fused_groups()) {
        if (group.what != what) continue;
        const auto at = std::ranges::find(group.roles, parameter.role);
        if (at == group.roles.end()) continue;
        Membership found{{}, static_cast<std::size_t>(at - group.roles.begin())};
        for (const Role role : group.roles) {
            const std::optional<std::size_t> p = param_with(plan, role, parameter.layer);
            if (!p) return std::nullopt;
            found.params.push_back(*p);
        }
        return found;
    }
    return std::nullopt;
}

// Rows [begin, end) of matrices fused one after the other, of each leading index that the rank holds.
Held fused_rows(const Plan& plan, const Membership& group, const std::vector<IndexRuns>& index, Run rows) {
    Held held;
    held.columns = index.back();
    IndexRuns leading{{0, 1}};
    if (index.size() == 3) leading = index.front();
    for (const Run& run : leading) {
        for (std::int64_t i = run.begin; i < run.end; ++i) {
            std::int64_t before = 0;
            for (const std::size_t p : group.params) {
                const Shape& shape = plan.params[p].parameter.shape;
                const std::int64_t extent = shape[shape.size() - 2];
                const std::int64_t begin = std::max(rows.begin, before) - before;
                const std::int64_t end = std::min(rows.end, before + extent) - before;
                if (begin < end) append_lines(held.lines, {p, i * extent + begin, end - begin});
                before += extent;
            }
        }
    }
    return held;
}

// The fused matrix is cut as one block; each rank then takes its parts out of its block as if they were its own.
std::optional<Held> cut_as_one_block(const Plan& plan, std::size_t param, Rank rank, std::string_view what) {
    const std::optional<Membership> group = membership(plan, param, what);
    const std::size_t dim = plan.params[param].parameter.shape.size() - 2;
    if (!group || plan.params[param].parameter.shape.size() < 2) return std::nullopt;
    const std::optional<std::size_t> axis = only_axis_on(plan, param, dim);
    if (!axis) return std::nullopt;
    const Mesh& mesh = plan.mesh(plan.params[param].placement.mesh);
    const std::int64_t parts = mesh.axes()[*axis].size;
    const std::int64_t at = mesh.coordinates(rank)[*axis];
    std::int64_t all = 0;
    std::int64_t before = 0;
    for (std::size_t k = 0; k < group->params.size(); ++k) {
        const std::int64_t extent = plan.params[group->params[k]].parameter.shape[dim];
        all += extent;
        if (k < group->member) before += num_indices(shard_of(plan, group->params[k], rank)[dim]);
    }
    const std::vector<IndexRuns> index = shard_of(plan, param, rank);
    const std::int64_t begin = chunk(all, parts, at).begin + before;
    return fused_rows(plan, *group, index, {begin, std::min(all, begin + num_indices(index[dim]))});
}

std::optional<Held> of_partner(const Plan& plan, std::size_t param, Rank rank) {
    const std::optional<Membership> group = membership(plan, param, "gate and up");
    if (!group) return std::nullopt;
    return held_by(plan, group->params[1 - group->member], shard_of(plan, param, rank));
}

std::optional<Held> kv_head_by_modulo(const Plan& plan, std::size_t param, Rank rank) {
    const Role role = plan.params[param].parameter.role;
    const KvHeads heads = kv_heads_of(plan.config);
    if ((role != Role::wk && role != Role::wv) || plan.dims.tp() <= heads.count) return std::nullopt;
    std::vector<IndexRuns> index = shard_of(plan, param, rank);
    const std::int64_t head = plan.meshes.dense.coordinate(rank, Axis::tp) % heads.count;
    index[0] = {{head * heads.rows, (head + 1) * heads.rows}};
    return held_by(plan, param, index);
}

std::optional<Held> left_to_right(const Plan& plan, std::size_t param, Rank rank) {
    const ParamPlacement& placement = plan.params[param].placement;
    std::vector<Placement> placements = placement.placements;
    bool any = false;
    for (Placement& p : placements) {
        if (const auto* strided = std::get_if<StridedShard>(&p)) {
            p = ShardDim{strided->dim};
            any = true;
        }
    }
    if (!any) return std::nullopt;
    // Plain shards are cut left to right.
    const auto index = index_by(plan, param, plan.mesh(placement.mesh), placements, rank);
    return index ? std::optional{held_by(plan, param, *index)} : std::nullopt;
}

// The two dims of every matrix are cut the other way round: rows where columns are meant.
std::optional<Held> other_dim(const Plan& plan, std::size_t param, Rank rank) {
    const ParamPlacement& placement = plan.params[param].placement;
    const std::size_t n = plan.params[param].parameter.shape.size();
    if (n < 2) return std::nullopt;
    std::vector<Placement> placements = placement.placements;
    bool any = false;
    for (Placement& p : placements) {
        auto* const shard = std::get_if<ShardDim>(&p);
        if (shard == nullptr || shard->dim + 2 < n) continue;
        shard->dim = shard->dim == n - 1 ? n - 2 : n - 1;
        any = true;
    }
    if (!any) return std::nullopt;
    const auto index = index_by(plan, param, plan.mesh(placement.mesh), placements, rank);
    return index ? std::optional{held_by(plan, param, *index)} : std::nullopt;
}

std::optional<Held> uncut(const Plan& plan, std::size_t param, Axis axis) {
    const ParamPlacement& placement = plan.params[param].placement;
    const Mesh& mesh = plan.mesh(placement.mesh);
    if (placement.shards || !mesh.has(axis)) return std::nullopt;
    std::vector<Placement> placements = placement.placements;
    placements[mesh.axis_idx(axis)] = Replicate{};
    for (Placement& p : placements) {
        if (!std::holds_alternative<Replicate>(p)) return std::nullopt;
    }
    std::vector<IndexRuns> index;
    for (const std::int64_t extent : plan.params[param].parameter.shape) index.push_back({{0, extent}});
    return held_by(plan, param, index);
}

std::optional<Held> of_layer(const Plan& plan, std::size_t param, Rank rank, std::int64_t by) {
    const Parameter& parameter = plan.params[param].parameter;
    if (!parameter.layer) return std::nullopt;
    const std::optional<std::size_t> other = param_with(plan, parameter.role, *parameter.layer + by);
    if (!other || plan.params[*other].parameter.shape != parameter.shape) return std::nullopt;
    return held_by(plan, *other, shard_of(plan, param, rank));
}

}  // namespace

void add_cut_causes(const Plan& plan, std::vector<Cause>& rows) {
    for (const char* const what : {"gate and up", "q, k and v"}) {
        rows.push_back(
            {fmt::format("{} fused as one block before the tensor-parallel split", what),
             [what](const Plan& p, std::size_t param, Rank rank) { return cut_as_one_block(p, param, rank, what); }});
    }
    rows.push_back({"gate and up are swapped: w1 and w3 hold each other's values", of_partner});
    if (plan.dims.tp() > kv_heads_of(plan.config).count)
        rows.push_back({"kv heads replicated by modulo: a rank takes head rank % kv_heads", kv_head_by_modulo});
    rows.push_back(
        {"strided shards read left to right: FSDP's cut taken before tensor or expert parallelism's", left_to_right});
    rows.push_back({"matrices are cut along the other dim: columns taken for rows", other_dim});
    for (const Axis axis : {Axis::tp, Axis::fsdp, Axis::efsdp}) {
        rows.push_back({fmt::format("parameters are not cut over {}: every rank holds them whole", name_of(axis)),
                        [axis](const Plan& p, std::size_t param, Rank) { return uncut(p, param, axis); }});
    }
    for (const std::int64_t by : {std::int64_t{1}, std::int64_t{-1}}) {
        rows.push_back({fmt::format("layers are counted from {}: each holds the values of the one {} it",
                                    by == 1 ? "one too few" : "one too many", by == 1 ? "after" : "before"),
                        [by](const Plan& p, std::size_t param, Rank rank) { return of_layer(p, param, rank, by); }});
    }
}

}  // namespace shardproof::verify
