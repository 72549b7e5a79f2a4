// What an MoE layer holds between its stages: made for the rows at hand, poisoned, before anything runs.
#include <algorithm>

#include "gpu/kernels/dispatch.cuh"
#include "gpu/moe_layer.hpp"
#include "oracle/model/error.hpp"
#include "sim/plan/shard.hpp"

namespace shardproof::gpu {

RowsOf rows_to_dispatch(const Plan& plan) {
    if (!dispatches_own_rows(plan)) return RowsOf::everyone;
    return plan.dims.tp() == 1 || plan.dims.sequence_parallel() ? RowsOf::rank : RowsOf::slice;
}

RankWork::RankWork(const LocalRank& rank) : local{rank} {
    int major = 0;
    int minor = 0;
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, rank.device));
    check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, rank.device));
    compute_capability = major * 10 + minor;
}

MoeLayer::MoeLayer(const Plan& plan, Transport& transport, Ledger& ledger, std::span<const LocalRank> ranks,
                   const DispatcherRow& dispatcher, std::string_view grouped_gemm, Arithmetic arithmetic)
    : plan_{plan},
      transport_{transport},
      ledger_{ledger},
      ranks_{ranks},
      arithmetic_{arithmetic},
      rows_of_{rows_to_dispatch(plan)},
      gathers_input_{rows_of_ == RowsOf::everyone && plan.dims.tp() > 1 && plan.dims.sequence_parallel()},
      dispatcher_{dispatcher.make(transport, ledger, ranks)},
      grouped_gemm_name_{grouped_gemm},
      parts_(ranks.size()) {
    work_.reserve(ranks.size());
    for (const LocalRank& local : ranks) {
        RankWork& work = work_.emplace_back(local);
        work.groups = groups_of(plan, local.rank);
        work.alone = {"ep", {local.rank}};
    }
    // Communicators are made before the first layer, in an order that all processes share.
    for (const auto& group_of : {&RankGroups::tp, &RankGroups::fsdp, &RankGroups::ep, &RankGroups::efsdp}) {
        for (const RankWork& work : work_) transport_.connect(work.groups.*group_of);
    }
}

void MoeLayer::prepare(std::int64_t layer, std::span<const std::int64_t> rows_of_rank) {
    SP_ASSERT(static_cast<std::int64_t>(rows_of_rank.size()) == plan_.world());
    layer_ = layer;
    experts_ = expert_map(plan_, layer);
    DispatchShape shape{.hidden = plan_.config.hidden_size,
                        .top_k = plan_.config.router.top_k,
                        .arithmetic = arithmetic_,
                        .experts = &experts_,
                        .rows_of_rank = {rows_of_rank.begin(), rows_of_rank.end()}};
    if (rows_of_ == RowsOf::slice) {
        for (std::int64_t r = 0; r < plan_.world(); ++r) {
            const std::vector<Rank> tp = plan_.meshes.dense.group(Rank{r}, Axis::tp);
            const auto idx = static_cast<std::size_t>(std::ranges::find(tp, Rank{r}) - tp.begin());
            shape.rows_of_rank[static_cast<std::size_t>(r)] =
                slices_of(rows_of_rank[static_cast<std::size_t>(r)], tp.size())[idx];
        }
    }
    for (std::size_t i = 0; i < work_.size(); ++i) {
        const DeviceScope scope{work_[i].local.device};
        work_[i].weights.prepare(plan_, work_[i].local, arithmetic_);
        prepare_gemms(work_[i]);
        prepare_rows(work_[i], parts_[i], rows_of_rank);
        parts_[i].local_idx = i;
    }
    dispatcher_->prepare(parts_, shape);
    for (std::size_t i = 0; i < work_.size(); ++i) {
        RankWork& work = work_[i];
        const DeviceScope scope{work.local.device};
        const std::int64_t capacity = parts_[i].worked.rows;
        const std::int64_t width = work.weights.held(Role::expert_w1).shape[1];
        for (DeviceBytes* bytes : {&work.gate, &work.up}) {
            bytes->reserve(capacity * std::max(width, plan_.config.moe_intermediate_size) * element_bytes(arithmetic_));
            bytes->poison(work.local.stream);
        }
    }
}

void MoeLayer::prepare_gemms(RankWork& work) const {
    const Shape& w1 = work.weights.gathered_shape(Role::expert_w1);
    const Shape& w2 = work.weights.gathered_shape(Role::expert_w2);
    // Rows that are only carried meet no product.
    if (carries_only) return;
    const GroupedGemmRow& first =
        grouped_gemm_named(grouped_gemm_name_, arithmetic_, w1[2], w1[1], work.compute_capability);
    const GroupedGemmRow& second =
        grouped_gemm_named(grouped_gemm_name_, arithmetic_, w2[2], w2[1], work.compute_capability);
    work.gemm_workspace.reserve(
        std::max({first.workspace_bytes(w1[0], 2), second.workspace_bytes(w2[0], 1), std::int64_t{16}}));
}

void MoeLayer::prepare_rows(RankWork& work, RankDispatch& part, std::span<const std::int64_t> rows_of_rank) {
    const std::int64_t d = plan_.config.hidden_size;
    const RouterSpec& router = plan_.config.router;
    const StreamView stream = work.local.stream;
    work.num_rows = rows_of_rank[work.local.rank.idx()];
    work.num_routed = work.num_rows;
    work.mine = {0, work.num_rows};
    if (gathers_input_) {
        work.num_routed = 0;
        for (const Rank member : work.groups.tp.ranks) {
            if (member == work.local.rank) work.mine = {work.num_routed, work.num_routed + work.num_rows};
            work.num_routed += rows_of_rank[member.idx()];
        }
    }
    work.dispatched = {0, work.num_routed};
    if (rows_of_ == RowsOf::slice) {
        work.dispatched =
            chunk(work.num_rows, plan_.dims.tp(), static_cast<std::int64_t>(work.groups.tp.idx_of(work.local.rank)));
    }
    const std::int64_t choices = work.dispatched.size() * router.top_k;
    const std::int64_t row_bytes = d * element_bytes(arithmetic_);
    const auto reserve = [&](DeviceBytes& bytes, std::int64_t size) {
        bytes.reserve(std::max<std::int64_t>(size, 16));
        bytes.poison(stream);
    };
    const auto reserve_array = [&](auto& array, std::int64_t count) {
        array.reserve(std::max<std::int64_t>(count, 4));
        array.poison(stream);
    };
    reserve(work.upload, work.num_rows * d * 4);
    reserve(work.hidden, work.num_rows * row_bytes);
    reserve(work.x, work.num_rows * row_bytes);
    if (gathers_input_) reserve(work.x_all, work.num_routed * row_bytes);
    reserve_array(work.logits, work.num_routed * router.num_experts);
    reserve_array(work.ids, work.num_routed * router.top_k);
    reserve_array(work.routing_weights, work.num_routed * router.top_k);
    reserve_array(work.rows_at, router.num_experts);
    reserve_array(work.begin_at, router.num_experts + 1);
    reserve_array(work.slot_choice, choices);
    reserve_array(work.slot_of, choices);
    reserve(work.scratch, dispatch_scratch_bytes(choices, router.num_experts));
    reserve(work.send, choices * row_bytes);
    reserve(work.partial, work.num_routed * row_bytes);
    if (plan_.dims.tp() > 1 && rows_of_ != RowsOf::rank) reserve(work.sum, work.num_routed * d * 4);
    reserve(work.output, work.num_rows * row_bytes);

    std::vector<std::int32_t> place(experts_.home.size());
    std::int32_t next = 0;
    for (const auto& held : experts_.held) {
        for (const ExpertId expert : held) place[expert.idx()] = next++;
    }
    // An expert held twice has two places: such maps are for later.
    SP_ASSERT(static_cast<std::size_t>(next) == place.size());
    work.place.reserve(static_cast<std::int64_t>(place.size()));
    upload(std::as_bytes(std::span{place}), work.place.data(), stream);

    part.group = rows_of_ == RowsOf::everyone ? &work.alone : &work.groups.ep;
    part.num_rows = work.dispatched.size();
    part.send = matrix(work.send, choices, d);
    part.rows_at = work.rows_at.data();
    part.begin_at = work.begin_at.data();
}

}  // namespace shardproof::gpu
