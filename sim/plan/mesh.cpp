#include "sim/plan/mesh.hpp"

#include <algorithm>

#include "oracle/model/error.hpp"

namespace shardproof {

std::string_view name_of(Axis axis) {
    switch (axis) {
        case Axis::pp:
            return "pp";
        case Axis::dp_replicate:
            return "dp_replicate";
        case Axis::fsdp:
            return "fsdp";
        case Axis::cp:
            return "cp";
        case Axis::tp:
            return "tp";
        case Axis::efsdp:
            return "efsdp";
        case Axis::ep:
            return "ep";
        case Axis::etp:
            return "etp";
        case Axis::batch:
            return "batch";
    }
    SP_ASSERT(!"an axis has a name");
    return {};
}

Mesh Mesh::row_major(std::string name, std::vector<std::pair<Axis, std::int64_t>> axes) {
    std::vector<MeshAxis> strides(axes.size());
    std::int64_t stride = 1;
    for (std::size_t i = axes.size(); i-- > 0;) {
        strides[i] = {axes[i].first, axes[i].second, stride};
        stride *= axes[i].second;
    }
    return strided(std::move(name), std::move(strides));
}

Mesh Mesh::strided(std::string name, std::vector<MeshAxis> axes) {
    Mesh mesh;
    mesh.name_ = std::move(name);
    mesh.axes_ = std::move(axes);
    // A box of steps fills 0 .. N-1 exactly when, by ascending stride, each stride is the product of the sizes below
    // it.
    std::int64_t below = 1;
    std::size_t num_placed = 0;
    const auto num_long = static_cast<std::size_t>(
        std::count_if(mesh.axes_.begin(), mesh.axes_.end(), [](const MeshAxis& axis) { return axis.size > 1; }));
    while (num_placed < num_long) {
        const auto next = std::find_if(mesh.axes_.begin(), mesh.axes_.end(),
                                       [&](const MeshAxis& axis) { return axis.size > 1 && axis.stride == below; });
        SP_ASSERT(next != mesh.axes_.end());
        below *= next->size;
        ++num_placed;
    }
    for (std::size_t i = 0; i < mesh.axes_.size(); ++i) {
        SP_ASSERT(mesh.axes_[i].size >= 1);
        SP_ASSERT(mesh.axes_[i].stride >= 1);
        for (std::size_t j = 0; j < i; ++j) SP_ASSERT(mesh.axes_[i].axis != mesh.axes_[j].axis);
    }
    return mesh;
}

std::int64_t Mesh::num_ranks() const {
    std::int64_t product = 1;
    for (const MeshAxis& axis : axes_) product *= axis.size;
    return product;
}

bool Mesh::has(Axis axis) const {
    return std::any_of(axes_.begin(), axes_.end(), [&](const MeshAxis& mine) { return mine.axis == axis; });
}

std::size_t Mesh::axis_idx(Axis axis) const {
    for (std::size_t i = 0; i < axes_.size(); ++i) {
        if (axes_[i].axis == axis) return i;
    }
    SP_ASSERT(!"the mesh has this axis");
    return 0;
}

std::int64_t Mesh::size(Axis axis) const { return axes_[axis_idx(axis)].size; }

std::int64_t Mesh::coordinate(Rank rank, Axis axis) const {
    SP_ASSERT(rank.value() >= 0 && rank.value() < num_ranks());
    const MeshAxis& mine = axes_[axis_idx(axis)];
    return rank.value() / mine.stride % mine.size;
}

std::vector<std::int64_t> Mesh::coordinates(Rank rank) const {
    SP_ASSERT(rank.value() >= 0 && rank.value() < num_ranks());
    std::vector<std::int64_t> result(axes_.size());
    for (std::size_t i = 0; i < axes_.size(); ++i) result[i] = rank.value() / axes_[i].stride % axes_[i].size;
    return result;
}

Rank Mesh::rank_at(std::span<const std::int64_t> coordinates) const {
    SP_ASSERT(coordinates.size() == axes_.size());
    std::int64_t rank = 0;
    for (std::size_t i = 0; i < axes_.size(); ++i) {
        SP_ASSERT(coordinates[i] >= 0 && coordinates[i] < axes_[i].size);
        rank += coordinates[i] * axes_[i].stride;
    }
    return Rank{rank};
}

std::vector<Rank> Mesh::group(Rank rank, std::span<const Axis> axes) const {
    const std::vector<std::int64_t> mine = coordinates(rank);
    std::int64_t origin = rank.value();
    std::vector<std::size_t> moving;
    for (std::size_t i = 0; i < axes_.size(); ++i) {
        if (std::find(axes.begin(), axes.end(), axes_[i].axis) == axes.end()) continue;
        origin -= mine[i] * axes_[i].stride;
        moving.push_back(i);
    }
    SP_ASSERT(moving.size() == axes.size());
    std::vector<Rank> result{Rank{origin}};
    for (const std::size_t i : moving) {
        std::vector<Rank> grown;
        grown.reserve(result.size() * static_cast<std::size_t>(axes_[i].size));
        for (const Rank base : result) {
            for (std::int64_t c = 0; c < axes_[i].size; ++c) grown.emplace_back(base.value() + c * axes_[i].stride);
        }
        result = std::move(grown);
    }
    return result;
}

std::vector<Rank> Mesh::group(Rank rank, Axis axis) const { return group(rank, std::span{&axis, 1}); }

Rank Mesh::first_of_group(Rank rank, Axis axis) const {
    return Rank{rank.value() - coordinate(rank, axis) * axes_[axis_idx(axis)].stride};
}

std::vector<std::vector<Rank>> Mesh::groups(std::span<const Axis> axes) const {
    std::vector<std::vector<Rank>> result;
    for (std::int64_t r = 0; r < num_ranks(); ++r) {
        const bool is_first =
            std::all_of(axes.begin(), axes.end(), [&](Axis axis) { return coordinate(Rank{r}, axis) == 0; });
        if (is_first) result.push_back(group(Rank{r}, axes));
    }
    return result;
}

Meshes make_meshes(const ParallelDims& dims) {
    return {
        .dense = Mesh::row_major("dense", {{Axis::pp, dims.pp()},
                                           {Axis::dp_replicate, dims.dp_replicate()},
                                           {Axis::fsdp, dims.fsdp()},
                                           {Axis::tp, dims.tp()}}),
        .sparse = Mesh::row_major("sparse", {{Axis::pp, dims.pp()},
                                             {Axis::dp_replicate, dims.dp_replicate()},
                                             {Axis::efsdp, dims.efsdp()},
                                             {Axis::ep, dims.ep()}}),
        .data = Mesh::row_major(
            "data", {{Axis::pp, dims.pp()}, {Axis::batch, dims.batch()}, {Axis::cp, dims.cp()}, {Axis::tp, dims.tp()}}),
    };
}

Meshes make_meshes_with_etp(const ParallelDims& dims, std::int64_t etp) {
    const std::int64_t inner = dims.dp_shard() * dims.cp() * dims.tp();
    SP_ASSERT(inner % (dims.ep() * etp) == 0);
    Meshes meshes = make_meshes(dims);
    meshes.sparse = Mesh::row_major("sparse", {{Axis::pp, dims.pp()},
                                               {Axis::dp_replicate, dims.dp_replicate()},
                                               {Axis::efsdp, inner / (dims.ep() * etp)},
                                               {Axis::ep, dims.ep()},
                                               {Axis::etp, etp}});
    return meshes;
}

std::vector<NamedGroups> named_groups(const Meshes& meshes) {
    const auto along = [](const Mesh& mesh, std::vector<Axis> axes) { return mesh.groups(axes); };
    std::vector<NamedGroups> named{
        {"pp", along(meshes.dense, {Axis::pp})},
        {"dp_replicate", along(meshes.dense, {Axis::dp_replicate})},
        {"fsdp", along(meshes.dense, {Axis::fsdp})},
        {"cp", along(meshes.data, {Axis::cp})},
        {"tp", along(meshes.dense, {Axis::tp})},
        {"efsdp", along(meshes.sparse, {Axis::efsdp})},
        {"ep", along(meshes.sparse, {Axis::ep})},
        {"batch", along(meshes.data, {Axis::batch})},
        {"loss", along(meshes.data, {Axis::batch, Axis::cp})},
    };
    if (meshes.sparse.has(Axis::etp)) named.insert(named.end() - 2, {"etp", along(meshes.sparse, {Axis::etp})});
    return named;
}

}  // namespace shardproof
