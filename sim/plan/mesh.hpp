// Mesh: named axes over the ranks of the world. Dense, sparse and data meshes are views of the same ranks.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "oracle/model/ids.hpp"
#include "sim/plan/parallel_dims.hpp"

namespace shardproof {

enum class Axis : std::uint8_t { pp, dp_replicate, fsdp, cp, tp, efsdp, ep, etp, batch };
[[nodiscard]] std::string_view name_of(Axis axis);

struct MeshAxis {
    Axis axis{};
    std::int64_t size = 1;
    std::int64_t stride = 1;  // rank = sum of coordinate * stride over the axes
};

class Mesh {
public:
    // Row-major over (axis, size) pairs, outermost first.
    [[nodiscard]] static Mesh row_major(std::string name, std::vector<std::pair<Axis, std::int64_t>> axes);
    // Any strides that make rank <-> coordinate a bijection onto 0 .. product of sizes - 1 (SP_ASSERT).
    [[nodiscard]] static Mesh strided(std::string name, std::vector<MeshAxis> axes);

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] const std::vector<MeshAxis>& axes() const { return axes_; }
    [[nodiscard]] std::int64_t num_ranks() const;
    [[nodiscard]] bool has(Axis axis) const;
    [[nodiscard]] std::size_t axis_idx(Axis axis) const;  // SP_ASSERT has(axis)
    [[nodiscard]] std::int64_t size(Axis axis) const;

    [[nodiscard]] std::int64_t coordinate(Rank rank, Axis axis) const;
    [[nodiscard]] std::vector<std::int64_t> coordinates(Rank rank) const;  // one an axis
    [[nodiscard]] Rank rank_at(std::span<const std::int64_t> coordinates) const;
    // The ranks that differ from `rank` along these axes only, in the order of their coordinates (outermost first).
    [[nodiscard]] std::vector<Rank> group(Rank rank, std::span<const Axis> axes) const;
    [[nodiscard]] std::vector<Rank> group(Rank rank, Axis axis) const;
    // The member of that group whose coordinate is 0.
    [[nodiscard]] Rank first_of_group(Rank rank, Axis axis) const;
    // All groups of these axes, ordered by first rank.
    [[nodiscard]] std::vector<std::vector<Rank>> groups(std::span<const Axis> axes) const;

private:
    std::string name_;
    std::vector<MeshAxis> axes_;
};

// The three views of a layout's ranks. Source: facts 1.2.
struct Meshes {
    Mesh dense;  // pp, dp_replicate, fsdp, tp
    Mesh sparse;  // pp, dp_replicate, efsdp, ep, and where a rule set gives experts their own tp: etp
    Mesh data;  // pp, batch, cp, tp
};
[[nodiscard]] Meshes make_meshes(const ParallelDims& dims);
// The same with experts cut over `etp` neighbouring ranks, ep outside them and copies outside that: Megatron's order
// tp-cp-ep-dp-pp, fastest first. ep*etp divides dp_shard*cp*tp (SP_ASSERT).
[[nodiscard]] Meshes make_meshes_with_etp(const ParallelDims& dims, std::int64_t etp);

// The groups a user knows by name: pp dp_replicate fsdp cp tp efsdp ep batch loss, in this order; after ep etp, where
// the sparse mesh has it.
struct NamedGroups {
    std::string name;
    std::vector<std::vector<Rank>> groups;
};
[[nodiscard]] std::vector<NamedGroups> named_groups(const Meshes& meshes);

}  // namespace shardproof
