#include "gpu/dispatch_faults.hpp"

#include <vector>

namespace shardproof::gpu {
namespace {

std::vector<std::int32_t> read(const DeviceArray<std::int32_t>& from, std::int64_t count, StreamView stream) {
    std::vector<std::int32_t> to(static_cast<std::size_t>(count));
    download(from.data(), std::as_writable_bytes(std::span{to}), stream);
    return to;
}

void write(const std::vector<std::int64_t>& values, const DeviceArray<std::int32_t>& to, StreamView stream) {
    const std::vector<std::int32_t> narrow(values.begin(), values.end());
    upload(std::as_bytes(std::span{narrow}), to.data(), stream);
    check(cudaStreamSynchronize(stream.raw()));
}

}  // namespace

DispatchPlan read_dispatch(const RankWork& work, const ExpertMap& experts, std::int64_t top_k) {
    const StreamView stream = work.local.stream;
    const auto num_experts = static_cast<std::int64_t>(experts.home.size());
    const std::int64_t choices = work.dispatched.size() * top_k;
    const std::vector<std::int32_t> rows_at = read(work.rows_at, num_experts, stream);
    const std::vector<std::int32_t> slot_choice = read(work.slot_choice, choices, stream);
    const std::vector<std::int32_t> slot_of = read(work.slot_of, choices, stream);
    check(cudaStreamSynchronize(stream.raw()));
    DispatchPlan plan;
    plan.top_k = top_k;
    plan.rows_to_expert.assign(experts.home.size(), 0);
    std::size_t place = 0;
    for (const std::vector<ExpertId>& held : experts.held) {
        std::int64_t& rows = plan.rows_to_peer.emplace_back(0);
        for (const ExpertId expert : held) {
            plan.rows_to_expert[expert.idx()] = rows_at[place];
            rows += rows_at[place++];
        }
    }
    for (const std::int32_t choice : slot_choice) {
        plan.slot_token.push_back(choice / top_k);
        plan.slot_choice.push_back(choice % top_k);
    }
    plan.slot_of.assign(slot_of.begin(), slot_of.end());
    return plan;
}

void plant_dispatch_fault(const PlanFaults& faults, RankWork& work, const ExpertMap& experts, std::int64_t top_k,
                          std::int64_t layer) {
    const DeviceScope scope{work.local.device};
    DispatchPlan for_dispatch = read_dispatch(work, experts, top_k);
    DispatchPlan for_combine = for_dispatch;
    faults.on_dispatch(work.local.rank, layer, for_dispatch, for_combine);
    std::vector<std::int64_t> rows_at;
    std::vector<std::int64_t> begin_at{0};
    for (const std::vector<ExpertId>& held : experts.held) {
        for (const ExpertId expert : held) {
            rows_at.push_back(for_dispatch.rows_to_expert[expert.idx()]);
            begin_at.push_back(begin_at.back() + rows_at.back());
        }
    }
    std::vector<std::int64_t> slot_choice;
    for (std::size_t s = 0; s < for_dispatch.slot_token.size(); ++s)
        slot_choice.push_back(for_dispatch.slot_token[s] * top_k + for_dispatch.slot_choice[s]);
    write(rows_at, work.rows_at, work.local.stream);
    write(begin_at, work.begin_at, work.local.stream);
    write(slot_choice, work.slot_choice, work.local.stream);
    write(for_combine.slot_of, work.slot_of, work.local.stream);
}

}  // namespace shardproof::gpu
