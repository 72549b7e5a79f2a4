#include "gpu/moe_layer.hpp"

#include <algorithm>
#include <array>

#include "gpu/dispatch_faults.hpp"
#include "gpu/kernels/dispatch.cuh"
#include "gpu/kernels/elementwise.cuh"
#include "gpu/kernels/router.cuh"
#include "gpu/kernels/rows.cuh"
#include "oracle/model/error.hpp"
#include "sim/plan/shard.hpp"

namespace shardproof::gpu {

RowsOf rows_to_dispatch(const ParallelDims& dims) {
    if (dims.ep() == 1) return RowsOf::everyone;
    return dims.tp() == 1 || dims.sequence_parallel() ? RowsOf::rank : RowsOf::slice;
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
      rows_of_{rows_to_dispatch(plan.dims)},
      gathers_input_{plan.dims.ep() == 1 && plan.dims.tp() > 1 && plan.dims.sequence_parallel()},
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

void MoeLayer::gather_weights() {
    for (RankWork& work : work_) work.weights.prepare(plan_, work.local, arithmetic_);
    for (const Role role : kMoeRoles) {
        std::vector<DeviceCall> calls;
        for (RankWork& work : work_) {
            if (auto call = work.weights.gather_call(role, work.groups, work.local.rank)) calls.push_back(*call);
        }
        if (!calls.empty()) ledger_.enqueue(std::move(calls));
        for (RankWork& work : work_) {
            const DeviceScope scope{work.local.device};
            work.weights.settle(role, work.local);
        }
    }
}

void MoeLayer::run() {
    route();
    plan_and_permute();
    dispatcher_->dispatch(parts_);
    stage("dispatch");
    run_experts();
    dispatcher_->combine(parts_);
    stage("return");
    combine();
}

void MoeLayer::norm(RankWork& work) const {
    const std::int64_t d = plan_.config.hidden_size;
    if (carries_only) {
        check(cudaMemcpyAsync(work.x.data(), work.hidden.data(),
                              static_cast<std::size_t>(work.num_rows * d * element_bytes(arithmetic_)),
                              cudaMemcpyDeviceToDevice, work.local.stream.raw()));
        return;
    }
    rms_norm(matrix(work.hidden, work.num_rows, d), work.weights.of(Role::ffn_norm).data, plan_.config.rms_norm_eps,
             matrix(work.x, work.num_rows, d), work.local.stream);
}

void MoeLayer::route() {
    const std::int64_t d = plan_.config.hidden_size;
    std::vector<DeviceCall> calls;
    for (RankWork& work : work_) {
        const DeviceScope scope{work.local.device};
        norm(work);
        if (!gathers_input_) continue;
        DeviceCall& call = calls.emplace_back();
        call.kind = CollectiveKind::all_gather;
        call.group = &work.groups.tp;
        call.rank = work.local.rank;
        call.dtype = arithmetic_ == Arithmetic::f32 ? DType::F32 : DType::BF16;
        call.send = work.x.data();
        call.receive = work.x_all.data();
        // The rows of the tp group's members, as prepare_rows dealt them.
        call.counts = slices_of(work.num_routed, work.groups.tp.size());
        for (std::int64_t& count : call.counts) count *= d;
        call.what = "moe input";
    }
    if (!calls.empty()) ledger_.enqueue(std::move(calls));
    stage("norm");
    for (RankWork& work : work_) {
        const DeviceScope scope{work.local.device};
        const Weight& gate = work.weights.of(Role::router_gate);
        router_logits(routed(work), {gate.data, gate.shape[0], gate.shape[1], arithmetic_}, work.logits.data(),
                      work.local.stream);
        route_top_k(plan_.config.router, work.logits.data(), work.num_routed, work.ids.data(),
                    work.routing_weights.data(), work.local.stream);
    }
    stage("router");
}

void MoeLayer::plan_and_permute() {
    const RouterSpec& router = plan_.config.router;
    for (RankWork& work : work_) {
        const DeviceScope scope{work.local.device};
        plan_dispatch_on_device(work.ids.data() + work.dispatched.begin * router.top_k,
                                work.dispatched.size() * router.top_k, router.num_experts, work.place.data(),
                                work.rows_at.data(), work.begin_at.data(), work.slot_choice.data(), work.slot_of.data(),
                                work.scratch.data(), work.local.stream);
    }
    if (faults != nullptr && faults->on_dispatch) {
        ledger_.wait();
        for (RankWork& work : work_) plant_dispatch_fault(*faults, work, experts_, router.top_k, layer_);
    }
    stage("plan");
    for (std::size_t i = 0; i < work_.size(); ++i) {
        RankWork& work = work_[i];
        const DeviceScope scope{work.local.device};
        Matrix rows = routed(work);
        rows.data = static_cast<std::byte*>(rows.data) + work.dispatched.begin * rows.cols * element_bytes(arithmetic_);
        rows.rows = work.dispatched.size();
        const float* weights = work.routing_weights.data() + work.dispatched.begin * router.top_k;
        gather_slots(rows, work.slot_choice.data(), parts_[i].send.rows, router.top_k,
                     router.score_on == ScoreOn::input && !carries_only ? weights : nullptr,
                     matrix(work.send, parts_[i].send.rows, rows.cols), work.local.stream);
    }
    stage("permute");
}

void MoeLayer::run_experts() {
    for (std::size_t i = 0; i < work_.size() && carries_only; ++i) {
        RankDispatch& part = parts_[i];
        const DeviceScope scope{work_[i].local.device};
        const auto bytes = static_cast<std::size_t>(part.worked.rows * part.worked.cols * element_bytes(arithmetic_));
        check(cudaMemcpyAsync(part.worked.data, part.arrived.data, bytes, cudaMemcpyDeviceToDevice,
                              work_[i].local.stream.raw()));
    }
    if (carries_only) return;
    // gate and up, then the product, then down: stage by stage over the ranks, so that ranks of one GPU overlap.
    const auto gemm = [&](std::size_t i, ConstMatrix x, std::int64_t out, std::span<const GroupedProduct> products) {
        RankWork& work = work_[i];
        const std::int64_t experts = work.weights.of(Role::expert_w1).shape[0];
        const DeviceScope scope{work.local.device};
        const GroupedGemmRow& row =
            grouped_gemm_named(grouped_gemm_name_, arithmetic_, x.cols, out, work.compute_capability);
        work.gemm_workspace.reserve(
            std::max<std::int64_t>(row.workspace_bytes(experts, static_cast<int>(products.size())), 16));
        row.run({.x = x, .num_experts = experts, .out = out, .begin = parts_[i].expert_begin, .products = products},
                work.gemm_workspace.data(), work.local.stream);
    };
    for (std::size_t i = 0; i < work_.size(); ++i) {
        RankWork& work = work_[i];
        const std::array products{GroupedProduct{work.weights.of(Role::expert_w1).data, work.gate.data()},
                                  GroupedProduct{work.weights.of(Role::expert_w3).data, work.up.data()}};
        gemm(i, parts_[i].arrived, work.weights.of(Role::expert_w1).shape[1], products);
    }
    stage("gate and up");
    for (std::size_t i = 0; i < work_.size(); ++i) {
        RankWork& work = work_[i];
        const DeviceScope scope{work.local.device};
        const Shape& shape = work.weights.of(Role::expert_w1).shape;
        const std::int64_t capacity = parts_[i].worked.rows;
        swiglu(matrix(work.gate, capacity, shape[1]), matrix(work.up, capacity, shape[1]),
               parts_[i].expert_begin + shape[0], work.local.stream);
    }
    stage("swiglu");
    for (std::size_t i = 0; i < work_.size(); ++i) {
        RankWork& work = work_[i];
        const Shape& shape = work.weights.of(Role::expert_w2).shape;
        const std::array products{GroupedProduct{work.weights.of(Role::expert_w2).data, parts_[i].worked.data}};
        gemm(i, matrix(work.gate, parts_[i].worked.rows, shape[2]), shape[1], products);
    }
    stage("down");
}

void MoeLayer::combine() {
    const RouterSpec& router = plan_.config.router;
    const std::int64_t d = plan_.config.hidden_size;
    for (std::size_t i = 0; i < work_.size(); ++i) {
        RankWork& work = work_[i];
        const DeviceScope scope{work.local.device};
        const float* weights = work.routing_weights.data() + work.dispatched.begin * router.top_k;
        if (work.dispatched.size() < work.num_routed) {  // the other tp ranks' rows of the sum stay zero
            check(cudaMemsetAsync(work.partial.data(), 0,
                                  static_cast<std::size_t>(work.num_routed * d * element_bytes(arithmetic_)),
                                  work.local.stream.raw()));
        }
        Matrix out = matrix(work.partial, work.dispatched.size(), d);
        out.data = row(work.partial, work.dispatched.begin);
        const bool weighted = router.score_on == ScoreOn::output && !carries_only;
        combine_slots(parts_[i].returned, work.slot_of.data(), weighted ? weights : nullptr, router.top_k, out,
                      work.local.stream);
    }
    stage("combine");
    reduce_over_tp();
    for (RankWork& work : work_) {
        const DeviceScope scope{work.local.device};
        Matrix sum = matrix(work.partial, work.num_rows, d);
        sum.data = row(work.partial, work.mine.begin);
        add(matrix(work.hidden, work.num_rows, d), sum, matrix(work.output, work.num_rows, d), work.local.stream);
    }
    stage("residual");
}

// Partial sums travel and add up as f32 and are rounded once.
void MoeLayer::reduce_over_tp() {
    if (plan_.dims.tp() == 1 || rows_of_ == RowsOf::rank) return;
    const std::int64_t d = plan_.config.hidden_size;
    const DType stored = arithmetic_ == Arithmetic::f32 ? DType::F32 : DType::BF16;
    std::vector<DeviceCall> calls;
    for (RankWork& work : work_) {
        const DeviceScope scope{work.local.device};
        convert(work.partial.data(), stored, work.sum.data(), Arithmetic::f32, work.num_routed * d, work.local.stream);
        DeviceCall& call = calls.emplace_back();
        call.kind = CollectiveKind::all_reduce;
        call.group = &work.groups.tp;
        call.rank = work.local.rank;
        call.dtype = DType::F32;
        call.send = work.sum.data();
        call.receive = work.sum.data();
        call.counts = {work.num_routed * d};
        call.what = "moe output";
    }
    ledger_.enqueue(std::move(calls));
    for (RankWork& work : work_) {
        const DeviceScope scope{work.local.device};
        convert(work.sum.data(), DType::F32, work.partial.data(), arithmetic_, work.num_routed * d, work.local.stream);
    }
}

}  // namespace shardproof::gpu
