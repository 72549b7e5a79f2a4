#include "sim/memory.hpp"

#include <algorithm>
#include <cstring>
#include <map>

#include "oracle/model/error.hpp"

namespace shardproof::sim {

namespace {

// A byte repeated is a NaN in BF16, F16, F32 and F64 alike.
constexpr std::byte kPoison{0xFF};
constexpr std::byte kOtherPoison{0x7F};

bool is_poison(const std::byte* element, std::size_t width, std::byte poison) {
    for (std::size_t b = 0; b < width; ++b) {
        if (element[b] != poison) return false;
    }
    return true;
}

bool any_poison(const std::vector<std::byte>& bytes, std::size_t width) {
    // memchr finds the rare candidate at memory speed.
    const std::byte* at = bytes.data();
    const std::byte* const end = at + bytes.size();
    while (at < end) {
        const void* found = std::memchr(at, static_cast<int>(kPoison), static_cast<std::size_t>(end - at));
        if (found == nullptr) return false;
        const auto element = static_cast<std::size_t>(static_cast<const std::byte*>(found) - bytes.data()) / width;
        if (is_poison(bytes.data() + element * width, width, kPoison)) return true;
        at = bytes.data() + (element + 1) * width;
    }
    return false;
}

}  // namespace

LoadReport& LoadReport::operator+=(const LoadReport& other) {
    bytes_planned += other.bytes_planned;
    bytes_read += other.bytes_read;
    poison_left += other.poison_left;
    return *this;
}

HeldParam load_param(const Plan& plan, const Checkpoint& checkpoint, std::size_t param_idx, Rank rank,
                     const Faults* faults, LoadReport& report) {
    LoadPlan load_plan = make_load_plan(plan, param_idx, rank);
    report.bytes_planned += load_plan.shard_bytes();
    if (faults != nullptr && faults->on_load) faults->on_load(rank, param_idx, load_plan);

    HeldParam held{.param_idx = param_idx, .shape = load_plan.shape, .bytes = {}};
    held.bytes.assign(static_cast<std::size_t>(load_plan.shard_bytes()), kPoison);
    report.bytes_read += load(load_plan, checkpoint, held.bytes);

    const auto width = static_cast<std::size_t>(bits_of(load_plan.dtype) / 8);
    if (any_poison(held.bytes, width)) {
        std::vector<std::byte> again(held.bytes.size(), kOtherPoison);
        load(load_plan, checkpoint, again);
        for (std::size_t at = 0; at < again.size(); at += width) {
            if (is_poison(held.bytes.data() + at, width, kPoison) && is_poison(again.data() + at, width, kOtherPoison))
                ++report.poison_left;
        }
    }
    return held;
}

std::int64_t stage_bytes_max(const Plan& plan) {
    std::map<std::int64_t, std::int64_t> bytes_of_stage;  // layer -> bytes; embeddings -1, head -2
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        const Parameter& parameter = plan.params[p].parameter;
        std::int64_t stage = parameter.role == Role::tok_embeddings ? -1 : -2;
        if (parameter.layer) stage = *parameter.layer;
        for (std::int64_t r = 0; r < plan.world(); ++r) bytes_of_stage[stage] += shard_bytes(plan, p, Rank{r});
    }
    std::int64_t most = 0;
    for (const auto& [stage, bytes] : bytes_of_stage) most = std::max(most, bytes);
    return most;
}

}  // namespace shardproof::sim
