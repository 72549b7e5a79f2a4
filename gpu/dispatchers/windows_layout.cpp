#include "gpu/dispatchers/windows_layout.hpp"

#include <algorithm>
#include <limits>
#include <string>

#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

// Hands out consecutive pieces: the cursor that gives the offsets also gives the size.
class Cursor {
public:
    std::int64_t take(std::int64_t size, std::int64_t alignment) {
        const std::int64_t begin = (end_ + alignment - 1) / alignment * alignment;
        end_ = begin + size;
        return begin;
    }
    [[nodiscard]] std::int64_t end(std::int64_t alignment) const {
        return (end_ + alignment - 1) / alignment * alignment;
    }

private:
    std::int64_t end_ = 0;
};

void require_at_most(std::int64_t count, std::int64_t count_max, const char* what) {
    if (count <= count_max) return;
    throw InputError{{"command line", "--dispatcher", "windows",
                      std::to_string(count) + " " + what + ", it takes at most " + std::to_string(count_max)}};
}

}  // namespace

std::int64_t WindowShape::locals(std::int64_t peer) const {
    const auto p = static_cast<std::size_t>(peer);
    return first_at.at(p + 1) - first_at.at(p);
}

std::int64_t WindowShape::capacity_max() const { return *std::ranges::max_element(capacity); }

WindowShape window_shape(const DispatchShape& shape, std::span<const Rank> group) {
    const ExpertMap& experts = *shape.experts;
    SP_ASSERT(experts.num_peers == static_cast<std::int64_t>(group.size()));
    WindowShape result{.num_peers = experts.num_peers,
                       .num_experts = static_cast<std::int64_t>(experts.home.size()),
                       .first_at = {0},
                       .capacity = {},
                       .returned_rows = 0,
                       .row_bytes = shape.hidden * element_bytes(shape.arithmetic)};
    require_at_most(result.num_peers, kWindowPeersMax, "peers");
    require_at_most(result.num_experts, kWindowExpertsMax, "experts");
    std::int64_t rows_of_group = 0;
    for (const Rank rank : group) {
        const std::int64_t rows = shape.rows_of_rank.at(rank.idx());
        rows_of_group += rows;
        result.returned_rows = std::max(result.returned_rows, rows * shape.top_k);
    }
    // The kernels count in int32, the rows of the whole group included.
    SP_ASSERT(rows_of_group * shape.top_k <= std::numeric_limits<std::int32_t>::max());
    for (const auto& held : experts.held) {
        const auto locals = static_cast<std::int64_t>(held.size());
        result.first_at.push_back(result.first_at.back() + locals);
        result.capacity.push_back(rows_of_group * std::min(shape.top_k, locals));
    }
    // An expert held twice would have two positions and one count.
    SP_ASSERT(result.first_at.back() == result.num_experts);
    return result;
}

WindowLayout window_layout(const WindowShape& shape) {
    constexpr std::int64_t kLine = 128;
    constexpr std::int64_t kPage = 4096;  // NCCL's alignment of windows
    Cursor c;
    WindowLayout layout;
    layout.counts = c.take(shape.num_peers * shape.num_experts * 4, kLine);
    layout.arrived = c.take(shape.capacity_max() * shape.row_bytes, kLine);
    layout.returned = c.take(shape.returned_rows * shape.row_bytes, kLine);
    layout.bytes = c.end(kPage);
    return layout;
}

WindowTables window_tables(const WindowShape& shape, std::int64_t peer) {
    const std::int64_t cells = shape.locals(peer) * shape.num_peers;
    Cursor c;
    WindowTables tables;
    tables.first_at = c.take(shape.num_peers + 1, 4);
    tables.capacity = c.take(shape.num_peers, 4);
    tables.to_row = c.take(shape.num_experts, 4);
    tables.expert_begin = c.take(shape.locals(peer) + 1, 4);
    tables.back_begin = c.take(cells + 1, 4);
    tables.slot_begin = c.take(cells, 4);
    tables.count = c.end(4);
    return tables;
}

int window_blocks(int num_multiprocessors, std::int64_t ranks_of_device) {
    constexpr std::int64_t kBlocksMax = 32;  // beyond, a rank is not faster
    if (ranks_of_device > kWindowRanksOfDeviceMax) {
        throw EnvironmentError{
            "dispatcher windows: " + std::to_string(ranks_of_device) + " ranks on one GPU, whose " +
                "kernels would wait for each other without being resident together",
            "use at most " + std::to_string(kWindowRanksOfDeviceMax) + " ranks a GPU, or --dispatcher send-receive"};
    }
    return static_cast<int>(std::clamp<std::int64_t>(num_multiprocessors / ranks_of_device, 1, kBlocksMax));
}

}  // namespace shardproof::gpu
