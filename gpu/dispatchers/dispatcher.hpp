// Dispatcher: carries rows to the ranks that hold their experts and the experts' outputs back. A row in a table.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gpu/buffer.hpp"
#include "gpu/kernels/matrix.hpp"
#include "gpu/ledger.hpp"
#include "sim/plan/dispatch_plan.hpp"

namespace shardproof::gpu {

// One local rank's part in one dispatch. Device memory, all of it on the rank's device.
struct RankDispatch {
    const RankGroup* group = nullptr;  // its members are the peers of `experts`; size 1: everything stays here
    std::size_t local_idx = 0;         // into LocalRanks
    std::int64_t num_rows = 0;         // own rows, n
    ConstMatrix send;                  // [n*K, D], slot order: by (peer, local expert, token, choice)
    const std::int32_t* rows_at = nullptr;   // [E] rows of the expert at each position of (peer, local expert)
    const std::int32_t* begin_at = nullptr;  // [E+1]
    // Set by dispatch(): rows of this rank's experts, expert-major, inside each by (peer, slot).
    Matrix arrived;                          // [capacity, D]
    const std::int32_t* expert_begin = nullptr;  // [locals+1]
    // Written by the caller before combine(): the experts' outputs in the places of `arrived`.
    Matrix worked;                           // [capacity, D]
    // Set by combine(): outputs in the order of `send`.
    Matrix returned;                         // [n*K, D]
};

struct DispatchShape {
    std::int64_t hidden = 0;      // D
    std::int64_t top_k = 0;
    Arithmetic arithmetic{};
    const ExpertMap* experts = nullptr;
    std::vector<std::int64_t> rows_of_rank;  // [world] own rows of every rank: all processes know them
};

class Dispatcher {
public:
    virtual ~Dispatcher() = default;
    // Makes room for these sizes, poisoned (NaN). May connect and wait; not part of a layer.
    virtual void prepare(std::span<RankDispatch> ranks, const DispatchShape& shape) = 0;
    // Asynchronous, except for host_waits() waits a layer.
    virtual void dispatch(std::span<RankDispatch> ranks) = 0;
    virtual void combine(std::span<RankDispatch> ranks) = 0;
};

struct DispatcherRow {
    std::string_view name;  // "send-receive", "windows"
    std::string_view says;
    int host_waits = 0;     // times a layer that the host waits for the device: 0 or 1
    // nullopt where it can run over this transport, with the libraries and the build at hand; else why not.
    std::optional<std::string> (*why_not)(const Transport& transport);
    std::unique_ptr<Dispatcher> (*make)(Transport& transport, Ledger& ledger, std::span<const LocalRank> ranks);
};
[[nodiscard]] std::span<const DispatcherRow> dispatchers();
[[nodiscard]] const DispatcherRow& dispatcher_named(std::string_view name);  // throws InputError listing the names

}  // namespace shardproof::gpu
