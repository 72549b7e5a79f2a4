// What processes of one run tell each other of a layer, so that each can judge all ranks.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gpu/device_world.hpp"
#include "gpu/transport/store.hpp"
#include "oracle/judge.hpp"

namespace shardproof::props {

// One process's ranks after a layer, what they loaded, and what was wrong with it.
struct LayerShare {
    std::vector<gpu::MoeRank> ranks;
    std::optional<Mismatch> load_failure;
    std::int64_t bytes_planned = 0;
    std::int64_t bytes_read = 0;
};
[[nodiscard]] std::vector<std::byte> pack(const LayerShare& share);
[[nodiscard]] LayerShare unpack(std::span<const std::byte> bytes);  // SP_ASSERT: what pack wrote

// All ranks' shares, ascending by rank; the first load failure among them. `step` is the same on all processes and
// counts up: the store keeps the last two steps only. Without a store, `mine` itself. Throws StallError (peer_lost)
// naming the processes that did not come by the deadline, one for all, or earlier where one of them is gone.
[[nodiscard]] LayerShare exchange(LayerShare mine, gpu::Store* store, const gpu::Processes& processes,
                                  std::int64_t step, double deadline_s);

}  // namespace shardproof::props
