#include "props/device_faults.hpp"

#include <deque>
#include <memory>

#include "gpu/check.hpp"
#include "gpu/transport/nccl_library.hpp"

namespace shardproof::props {
namespace {

sim::CollectiveKind kind_of(gpu::CollectiveKind kind) {
    switch (kind) {
        case gpu::CollectiveKind::all_gather:
            return sim::CollectiveKind::all_gather;
        case gpu::CollectiveKind::reduce_scatter:
            return sim::CollectiveKind::reduce_scatter;
        case gpu::CollectiveKind::all_reduce:
            return sim::CollectiveKind::all_reduce;
        case gpu::CollectiveKind::all_to_all:
            return sim::CollectiveKind::all_to_all;
        case gpu::CollectiveKind::broadcast:
            return sim::CollectiveKind::broadcast;
        case gpu::CollectiveKind::barrier:
            return sim::CollectiveKind::barrier;
    }
    SP_ASSERT(!"a kind of collective");
    return {};
}

// Groups that a fault put in place of a call's own: they outlive the calls.
using OtherGroups = std::deque<gpu::RankGroup>;

gpu::Participation ask(const sim::Faults& faults, gpu::DeviceCall& call, OtherGroups& others) {
    const sim::Group group{call.group->axis, call.group->ranks, call.rank};
    sim::CollectiveCall told;
    told.kind = kind_of(call.kind);
    told.group = &group;
    told.dtype = call.dtype;
    told.element_bytes = static_cast<std::size_t>(bits_of(call.dtype) / 8);
    told.root_idx = call.root_idx;
    told.what = call.what;
    if (faults.on_call(call.rank, told) == sim::Participation::skips) return gpu::Participation::skips;
    if (told.group->ranks() != call.group->ranks) {
        others.push_back({.axis = std::string{told.group->name()}, .ranks = told.group->ranks()});
        call.group = &others.back();
    }
    call.dtype = told.dtype;
    return gpu::Participation::joins;
}

}  // namespace

DeviceFaultSet device_faults(const sim::Faults* faults) {
    DeviceFaultSet set;
    if (faults == nullptr) return set;
    if (faults->on_call) {
        set.calls.emplace();
        set.calls->on_call = [faults, others = std::make_shared<OtherGroups>()](gpu::DeviceCall& call) {
            return ask(*faults, call, *others);
        };
    }
    if (faults->on_load || faults->on_dispatch)
        set.plans = {.on_load = faults->on_load, .on_dispatch = faults->on_dispatch};
    return set;
}

bool is_of_the_run(const EnvironmentError& error) {
    if (const auto* cuda = dynamic_cast<const gpu::CudaError*>(&error))
        return cuda->code() != cudaErrorMemoryAllocation;
    return dynamic_cast<const gpu::NcclError*>(&error) != nullptr;
}

void report_stall(const gpu::DeviceStall& stall, const std::string& layer, CheckReport& report) {
    sim::Stall told;
    told.kind =
        stall.kind == gpu::DeviceStall::Kind::mismatch ? sim::Stall::Kind::mismatch : sim::Stall::Kind::deadlock;
    for (const gpu::DeviceStall::Wait& wait : stall.waits)
        told.waits.push_back({.rank = wait.rank, .call = wait.call, .absent = wait.absent});
    told.message = stall.message;
    if (!report.failure) {
        report.failure =
            exact_mismatch(layer, told.waits.empty() ? Rank{0} : told.waits.front().rank, {}, 0, 0, told.message);
    }
    report.stall = std::move(told);
}

}  // namespace shardproof::props
