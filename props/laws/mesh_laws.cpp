#include "props/laws/mesh_laws.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "oracle/model/error.hpp"

namespace shardproof::props::mesh {

namespace {

std::array<const Mesh*, 3> meshes_of(const Plan& plan) {
    return {&plan.meshes.dense, &plan.meshes.sparse, &plan.meshes.data};
}

// The tensor-parallel degree of experts on the sparse mesh. vLLM without expert parallelism cuts them over all ranks.
std::int64_t expert_tp(const Plan& plan) {
    const ParallelDims& dims = plan.dims;
    return plan.rules == "vllm" && dims.ep() == 1 ? dims.dp_shard() * dims.tp() : dims.etp();
}

std::int64_t degree(const Plan& plan, Axis axis) {
    const ParallelDims& dims = plan.dims;
    switch (axis) {
        case Axis::pp:
            return dims.pp();
        case Axis::dp_replicate:
            return dims.dp_replicate();
        case Axis::fsdp:
            return dims.dp_shard() * dims.cp();
        case Axis::cp:
            return dims.cp();
        case Axis::tp:
            return dims.tp();
        case Axis::efsdp:
            return dims.dp_shard() * dims.cp() * dims.tp() / (dims.ep() * expert_tp(plan));
        case Axis::ep:
            return dims.ep();
        case Axis::etp:
            return expert_tp(plan);
        case Axis::batch:
            return dims.dp_replicate() * dims.dp_shard();
    }
    SP_ASSERT(!"an axis has a degree");
    return 0;
}

std::optional<std::string> axis_partitions(const Mesh& mesh, Axis axis, const Plan& plan) {
    const ParallelDims& dims = plan.dims;
    const std::string where = fmt::format("mesh {}, axis {}", mesh.name(), name_of(axis));
    std::vector<std::int64_t> times(static_cast<std::size_t>(dims.world()), 0);
    for (const std::vector<Rank>& group : mesh.groups(std::span{&axis, 1})) {
        if (static_cast<std::int64_t>(group.size()) != degree(plan, axis))
            return fmt::format("{}: a group of {} ranks, the degree is {}", where, group.size(), degree(plan, axis));
        for (std::size_t i = 0; i < group.size(); ++i) {
            if (group[i].value() < 0 || group[i].value() >= dims.world())
                return fmt::format("{}: a group holds rank {} of a world of {}", where, group[i].value(), dims.world());
            ++times[group[i].idx()];
            if (mesh.coordinate(group[i], axis) != static_cast<std::int64_t>(i) || mesh.group(group[i], axis) != group)
                return fmt::format("{}: rank {} sees another group than its peers", where, group[i].value());
        }
    }
    const auto bad = std::ranges::find_if(times, [](std::int64_t n) { return n != 1; });
    if (bad == times.end()) return std::nullopt;
    return fmt::format("{}: rank {} is in {} groups, not in one", where, bad - times.begin(), *bad);
}

}  // namespace

std::optional<std::string> groups_partition(Subject& subject) {
    const Plan& plan = subject.plan();
    for (const Mesh* mesh : meshes_of(plan)) {
        for (const MeshAxis& axis : mesh->axes()) {
            if (auto message = axis_partitions(*mesh, axis.axis, plan)) return message;
        }
    }
    return std::nullopt;
}

std::optional<std::string> bijection(Subject& subject) {
    const Plan& plan = subject.plan();
    for (const Mesh* mesh : meshes_of(plan)) {
        if (mesh->num_ranks() != plan.dims.world())
            return fmt::format("mesh {} has {} ranks, the world {}", mesh->name(), mesh->num_ranks(),
                               plan.dims.world());
        std::set<std::vector<std::int64_t>> seen;
        for (std::int64_t r = 0; r < plan.dims.world(); ++r) {
            const std::vector<std::int64_t> at = mesh->coordinates(Rank{r});
            if (mesh->rank_at(at) != Rank{r})
                return fmt::format("mesh {}: rank {} comes back as {}", mesh->name(), r, mesh->rank_at(at).value());
            if (!seen.insert(at).second)
                return fmt::format("mesh {}: rank {} is at taken coordinates", mesh->name(), r);
        }
    }
    return std::nullopt;
}

std::optional<std::string> innermost_are_neighbours(Subject& subject) {
    const Plan& plan = subject.plan();
    // Members of a group are `step` ranks apart: 1 on the innermost axis, and ep steps over etp.
    const auto check = [&](const Mesh& mesh, Axis axis, std::int64_t step) -> std::optional<std::string> {
        const std::int64_t block = degree(plan, axis) * step;
        for (std::int64_t r = 0; r < plan.dims.world(); ++r) {
            const std::int64_t first = r / block * block + r % step;
            const std::vector<Rank> group = mesh.group(Rank{r}, axis);
            for (std::size_t i = 0; i < group.size(); ++i) {
                const std::int64_t want = first + static_cast<std::int64_t>(i) * step;
                if (group[i].value() != want)
                    return fmt::format("axis {}: member {} of rank {}'s group is rank {}, not {}", name_of(axis), i, r,
                                       group[i].value(), want);
            }
        }
        return std::nullopt;
    };
    if (auto message = check(plan.meshes.dense, Axis::tp, 1)) return message;
    if (auto message = check(plan.meshes.sparse, Axis::ep, expert_tp(plan))) return message;
    if (plan.meshes.sparse.has(Axis::etp)) {
        if (auto message = check(plan.meshes.sparse, Axis::etp, 1)) return message;
    }
    const bool any_group = plan.dims.tp() > 1 || plan.dims.ep() > 1 || expert_tp(plan) > 1;
    return any_group ? std::nullopt : subject.nothing_to_look_at();
}

}  // namespace shardproof::props::mesh
