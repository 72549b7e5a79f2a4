#include "sim/verify/compare.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "oracle/model/error.hpp"
#include "sim/verify/copy_runs.hpp"

namespace shardproof::verify {

bool Comparer::has_values(DType dtype, std::span<const std::byte> planned, const FoundShard& found) {
    constexpr std::size_t kBlock = 4096;
    std::array<Value, kBlock> ours;
    std::array<Value, kBlock> theirs;
    const auto our_bytes = static_cast<std::size_t>(bits_of(dtype) / 8);
    const auto their_bytes = static_cast<std::size_t>(bits_of(found.dtype) / 8);
    const std::size_t elements = planned.size() / our_bytes;
    SP_ASSERT(found.bytes.size() == elements * their_bytes);
    for (std::size_t begin = 0; begin < elements; begin += kBlock) {
        const std::size_t count = std::min(kBlock, elements - begin);
        read_values(dtype, planned.subspan(begin * our_bytes, count * our_bytes), std::span{ours}.first(count));
        read_values(found.dtype, found.bytes.subspan(begin * their_bytes, count * their_bytes),
                    std::span{theirs}.first(count));
        if (std::memcmp(ours.data(), theirs.data(), count * sizeof(Value)) != 0) return false;
    }
    return true;
}

bool Comparer::holds_planned(const LoadPlan& plan, const FoundShard& found) {
    constexpr std::int64_t kRunMin = 64;  // bytes; below, what lies scattered is gathered first
    if (plan.copies.empty()) return true;
    const bool same_dtype = plan.dtype == found.dtype;
    if (same_dtype && shortest_run(plan) >= kRunMin && holds(plan, *checkpoint_, found.bytes)) return true;
    loaded_.resize(static_cast<std::size_t>(plan.shard_bytes()));
    load(plan, *checkpoint_, loaded_);
    if (same_dtype && std::memcmp(loaded_.data(), found.bytes.data(), loaded_.size()) == 0) return true;
    return has_values(plan.dtype, loaded_, found);
}

}  // namespace shardproof::verify
