#include "gpu/rank_memory.hpp"

#include <cstring>

#include "gpu/patience.hpp"
#include "gpu/stall.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {

std::span<std::byte> Staging::next(std::int64_t bytes) {
    turn_ = 1 - turn_;
    Half& half = halves_[turn_];
    const auto deadline = moment_in(deadline_s_);
    Patience patience;
    while (half.busy && !half.copied.reached()) {
        if (!patience.pause() || std::chrono::steady_clock::now() < deadline) continue;
        throw StallError{{.kind = DeviceStall::Kind::deadline,
                          .waits = {},
                          .message = deadline_passed(deadline_s_) + ": a copy of weights to a device is not done"}};
    }
    half.busy = false;
    half.bytes.reserve(bytes);
    return half.bytes.bytes().first(static_cast<std::size_t>(bytes));
}

void Staging::used(StreamView stream) {
    Half& half = halves_[turn_];
    half.copied.record(stream);
    half.busy = true;
}

DeviceParam load_param(const Plan& plan, const Checkpoint& checkpoint, std::size_t param_idx, Rank rank,
                       Staging& staging, const PlanFaults* faults, DeviceLoadReport& report, StreamView stream) {
    LoadPlan load_plan = make_load_plan(plan, param_idx, rank);
    if (faults != nullptr && faults->on_load) faults->on_load(rank, param_idx, load_plan);
    const std::int64_t bytes = load_plan.shard_bytes();
    DeviceParam param{.param_idx = param_idx, .shape = load_plan.shape, .bytes = DeviceBytes{bytes}};
    report.bytes_planned += bytes;
    if (bytes == 0) return param;
    // Poisoned on both sides: an element that no copy writes is NaN wherever it is read.
    param.bytes.poison(stream);
    const std::span<std::byte> staged = staging.next(bytes);
    std::memset(staged.data(), 0xFF, staged.size());
    report.bytes_read += shardproof::load(load_plan, checkpoint, staged);
    upload(staged, param.bytes.data(), stream);
    staging.used(stream);
    return param;
}

}  // namespace shardproof::gpu
