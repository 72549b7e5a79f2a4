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

void MoeLayer::gather_weights() {
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
    for (const RankWork& work : work_) {
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
    for (const RankWork& work : work_) {
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
        const RankWork& work = work_[i];
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
        const RankDispatch& part = parts_[i];
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
        row.run({.x = x, .num_experts = experts, .out = out, .begin = parts_[i].expert_begin, .products = products},
                work.gemm_workspace.data(), work.local.stream);
    };
    for (std::size_t i = 0; i < work_.size(); ++i) {
        const RankWork& work = work_[i];
        const std::array products{GroupedProduct{work.weights.of(Role::expert_w1).data, work.gate.data()},
                                  GroupedProduct{work.weights.of(Role::expert_w3).data, work.up.data()}};
        gemm(i, parts_[i].arrived, work.weights.of(Role::expert_w1).shape[1], products);
    }
    stage("gate and up");
    for (std::size_t i = 0; i < work_.size(); ++i) {
        const RankWork& work = work_[i];
        const DeviceScope scope{work.local.device};
        const Shape& shape = work.weights.of(Role::expert_w1).shape;
        const std::int64_t capacity = parts_[i].worked.rows;
        swiglu(matrix(work.gate, capacity, shape[1]), matrix(work.up, capacity, shape[1]),
               parts_[i].expert_begin + shape[0], work.local.stream);
    }
    stage("swiglu");
    for (std::size_t i = 0; i < work_.size(); ++i) {
        const RankWork& work = work_[i];
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
        const RankWork& work = work_[i];
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
    for (const RankWork& work : work_) {
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
    for (const RankWork& work : work_) {
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
    for (const RankWork& work : work_) {
        const DeviceScope scope{work.local.device};
        convert(work.sum.data(), DType::F32, work.partial.data(), arithmetic_, work.num_routed * d, work.local.stream);
    }
}

}  // namespace shardproof::gpu
