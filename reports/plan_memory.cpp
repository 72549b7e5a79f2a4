#include "reports/plan_memory.hpp"

#include <algorithm>
#include <vector>

namespace shardproof::reports {
namespace {

// What the allocator takes for `bytes`: its header, and chunks of 16 bytes, two at least (glibc).
std::uint64_t allocated(std::uint64_t bytes) { return std::max<std::uint64_t>(32, (bytes + 8 + 15) / 16 * 16); }

}  // namespace

std::uint64_t plan_bytes(const Meshes& meshes) {
    const Mesh& dense = meshes.dense;
    const Mesh& sparse = meshes.sparse;
    const Mesh& data = meshes.data;
    const auto world = static_cast<std::uint64_t>(dense.num_ranks());
    const std::uint64_t group = sizeof(std::vector<Rank>);
    std::uint64_t bytes = 2 * world * sizeof(std::int64_t);
    // As named_groups() lists them: the sizes of their groups.
    std::vector<std::int64_t> sizes{
        dense.size(Axis::pp),  dense.size(Axis::dp_replicate), dense.size(Axis::fsdp),
        data.size(Axis::cp),   dense.size(Axis::tp),           sparse.size(Axis::efsdp),
        sparse.size(Axis::ep), data.size(Axis::batch),         data.size(Axis::batch) * data.size(Axis::cp)};
    if (sparse.has(Axis::etp)) sizes.push_back(sparse.size(Axis::etp));
    for (const std::int64_t size : sizes) {
        const auto ranks = static_cast<std::uint64_t>(size);
        // A list that grows may hold twice its length; it is copied once, into the list of all names.
        bytes += world / ranks * (3 * group + 2 * allocated(ranks * sizeof(Rank)));
    }
    return bytes;
}

}  // namespace shardproof::reports
