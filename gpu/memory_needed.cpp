#include "gpu/memory_needed.hpp"

#include <algorithm>
#include <map>

#include "gpu/groups.hpp"
#include "gpu/kernels/grouped_gemm.hpp"
#include "gpu/kernels/matrix.hpp"
#include "gpu/layer_weights.hpp"
#include "gpu/moe_layer.hpp"
#include "oracle/model/error.hpp"
#include "sim/plan/dispatch_plan.hpp"
#include "sim/plan/gather_plan.hpp"

namespace shardproof::gpu {
namespace {

std::int64_t weight_bytes(const Plan& plan, std::int64_t layer, Rank rank, Arithmetic arithmetic) {
    std::int64_t bytes = 0;
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        const Parameter& parameter = plan.params[p].parameter;
        if (parameter.layer != layer || std::ranges::find(kMoeRoles, parameter.role) == kMoeRoles.end()) continue;
        const DType dtype = plan.params[p].dtype;
        const GatherPlan gather = make_gather_plan(plan, p, rank);
        const std::int64_t gathered = num_elements(gather.shape);
        bytes += shard_bytes(plan, p, rank);
        if (gather.moves) bytes += 2 * gathered * bits_of(dtype) / 8;
        const bool native = dtype == (arithmetic == Arithmetic::f32 ? DType::F32 : DType::BF16);
        if (!native) bytes += gathered * element_bytes(arithmetic);
    }
    return bytes;
}

// Rows that a rank routes and those that it dispatches, as MoeLayer deals them.
struct RowCounts {
    std::int64_t routed = 0;
    std::int64_t dispatched = 0;
    std::int64_t may_arrive = 0;
};

RowCounts count_rows(const Plan& plan, std::int64_t layer, Rank rank, std::span<const std::int64_t> rows_of_rank) {
    const RankGroups groups = groups_of(plan, rank);
    const auto rows_in = [&](const RankGroup& group) {
        std::int64_t rows = 0;
        for (const Rank member : group.ranks) rows += rows_of_rank[member.idx()];
        return rows;
    };
    const RowsOf way = rows_to_dispatch(plan);
    const std::int64_t own = rows_of_rank[rank.idx()];
    RowCounts rows{.routed = own, .dispatched = own, .may_arrive = 0};
    if (way == RowsOf::everyone) {
        if (plan.dims.sequence_parallel() && plan.dims.tp() > 1) rows.routed = rows.dispatched = rows_in(groups.tp);
        rows.may_arrive = rows.dispatched * plan.config.router.top_k;
        return rows;
    }
    // Windows are as large on every rank as the one with most experts needs.
    const ExpertMap experts = expert_map(plan, layer);
    std::int64_t locals = 0;
    for (const auto& held : experts.held) locals = std::max(locals, static_cast<std::int64_t>(held.size()));
    std::int64_t of_group = rows_in(groups.ep);
    if (way == RowsOf::slice) {
        const std::int64_t tp = plan.dims.tp();
        rows.dispatched = (own + tp - 1) / tp;
        of_group = (of_group + tp - 1) / tp + static_cast<std::int64_t>(groups.ep.size());
    }
    rows.may_arrive = of_group * std::min(plan.config.router.top_k, locals);
    return rows;
}

// What the greediest grouped GEMM asks for beside its operands, on the rank's device.
std::int64_t gemm_workspace_bytes(const Plan& plan, const LocalRank& local) {
    const DeviceScope scope{local.device};
    std::int64_t most = 0;
    for (const GroupedGemmRow& row : grouped_gemms())
        most = std::max(most, row.workspace_bytes(plan.config.router.num_experts / plan.dims.ep() + 1, 2));
    return most;
}

}  // namespace

std::int64_t layer_bytes(const Plan& plan, std::int64_t layer, Rank rank, std::span<const std::int64_t> rows_of_rank,
                         Arithmetic arithmetic) {
    const RowCounts rows = count_rows(plan, layer, rank, rows_of_rank);
    const std::int64_t own = rows_of_rank[rank.idx()];
    const std::int64_t d = plan.config.hidden_size;
    const std::int64_t width = element_bytes(arithmetic);
    const RouterSpec& router = plan.config.router;
    const std::int64_t choices = rows.dispatched * router.top_k;
    std::int64_t bytes = weight_bytes(plan, layer, rank, arithmetic);
    bytes += own * d * (4 + 3 * width);                                   // as it comes, hidden, x, output
    bytes += rows.routed * (d * (4 + 2 * width) + 4 * router.num_experts + 8 * router.top_k);  // x_all, partial, sum
    bytes += choices * (2 * d * width + 16);                              // send, returned, slots and scratch
    bytes += rows.may_arrive * (3 * d * width + 4 + 2 * plan.config.moe_intermediate_size * width);
    return bytes;
}

void require_device_memory(const Plan& plan, const Session& session, std::span<const std::int64_t> rows_of_rank,
                           Arithmetic arithmetic) {
    std::map<int, std::int64_t> needed;  // device -> bytes
    for (const LocalRank& local : session.local_ranks()) {
        if (local.rank.value() >= plan.world()) continue;
        std::int64_t most = 0;
        for (std::int64_t layer = 0; layer < plan.config.num_layers; ++layer) {
            if (plan.config.is_moe(layer))
                most = std::max(most, layer_bytes(plan, layer, local.rank, rows_of_rank, arithmetic));
        }
        needed[local.device] += most + gemm_workspace_bytes(plan, local);
    }
    for (const auto& [device, own] : needed) {
        const std::int64_t bytes = own * session.processes_on(device);
        const std::int64_t free = bytes_free_on(device);
        if (bytes <= free) continue;
        throw EnvironmentError{"device " + std::to_string(device) + " needs " + std::to_string(bytes) +
                                   " bytes for a layer of the ranks on it and has " + std::to_string(free) + " free",
                               "give fewer tokens or more devices, or free the device's memory"};
    }
}

}  // namespace shardproof::gpu
