// Causes: ranks that are numbered otherwise than the mesh says, or that hold one another's shards.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "oracle/model/error.hpp"
#include "sim/verify/cause_rules.hpp"

namespace shardproof::verify {
namespace {

// The mesh with its axes nested in another order, outermost first.
Mesh nested(const Mesh& mesh, const std::vector<std::size_t>& order) {
    std::vector<MeshAxis> axes = mesh.axes();
    std::int64_t stride = 1;
    for (auto at = order.rbegin(); at != order.rend(); ++at) {
        axes[*at].stride = stride;
        stride *= axes[*at].size;
    }
    return Mesh::strided(mesh.name(), axes);
}

std::vector<std::size_t> order_of(const Mesh& mesh) {
    std::vector<std::size_t> order(mesh.axes().size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(order, std::ranges::greater{}, [&](std::size_t axis) { return mesh.axes()[axis].stride; });
    return order;
}

std::string names_in_order(const Mesh& mesh, const std::vector<std::size_t>& order) {
    std::string text;
    for (const std::size_t axis : order) {
        if (mesh.axes()[axis].size == 1) continue;
        text += (text.empty() ? "" : ", ") + std::string{name_of(mesh.axes()[axis].axis)};
    }
    return text;
}

void add_nestings(const Plan& plan, MeshKind kind, std::vector<Cause>& rows) {
    const Mesh& mesh = plan.mesh(kind);
    const std::vector<std::size_t> planned = order_of(mesh);
    std::vector<std::size_t> wide;  // axes that matter, in planned order
    for (const std::size_t axis : planned) {
        if (mesh.axes()[axis].size > 1) wide.push_back(axis);
    }
    if (wide.size() < 2 || wide.size() > 4) return;
    std::vector<std::size_t> order = wide;
    std::ranges::sort(order);
    do {
        if (order == wide) continue;
        const std::string outermost{name_of(mesh.axes()[order.front()].axis)};
        const std::string what = order.front() != wide.front() ? fmt::format("groups look like {}-outermost", outermost)
                                                               : "groups look as if axes were nested otherwise";
        rows.push_back({fmt::format("{}: the ranks of the {} mesh are numbered ({}) instead of ({})", what,
                                    name_of(kind), names_in_order(mesh, order), names_in_order(mesh, wide)),
                        [kind, other = nested(mesh, order)](const Plan& p, std::size_t param, Rank rank) {
                            std::optional<Held> held;
                            const ParamPlan& planned_param = p.params[param];
                            if (planned_param.placement.mesh != kind) return held;
                            if (const auto index = index_by(p, param, other, planned_param.placement.placements, rank))
                                held = held_by(p, param, *index);
                            return held;
                        }});
    } while (std::ranges::next_permutation(order).found);
}

// Rank r holds what rank `of(r)` should.
void add_numbering(const Plan& plan, std::string sentence, const std::function<Rank(Rank)>& of,
                   std::vector<Cause>& rows) {
    if (plan.world() < 2) return;
    rows.push_back({std::move(sentence), [of](const Plan& p, std::size_t param, Rank rank) {
                        return std::optional{held_by(p, param, shard_of(p, param, of(rank)))};
                    }});
}

}  // namespace

void add_mesh_causes(const Plan& plan, std::vector<Cause>& rows) {
    for (const MeshKind kind : {MeshKind::sparse, MeshKind::dense}) add_nestings(plan, kind, rows);
    const std::int64_t world = plan.world();
    add_numbering(plan, "every rank holds the shards of rank 0", [](Rank) { return Rank{0}; }, rows);
    add_numbering(
        plan, "ranks are numbered in reverse", [world](Rank rank) { return Rank{world - 1 - rank.value()}; }, rows);
    add_numbering(
        plan, "every rank holds the shards of the rank after it",
        [world](Rank rank) { return Rank{(rank.value() + 1) % world}; }, rows);
    if (world > 2) {
        add_numbering(
            plan, "every rank holds the shards of the rank before it",
            [world](Rank rank) { return Rank{(rank.value() + world - 1) % world}; }, rows);
    }
}

}  // namespace shardproof::verify
