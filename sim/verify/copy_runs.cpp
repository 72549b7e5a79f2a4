#include "sim/verify/copy_runs.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "oracle/model/error.hpp"

namespace shardproof::verify {
namespace {

// Calls `on_run(from, to)` for every run of copy.bytes until it says false.
template <class OnRun>
bool every_run(const Copy& copy, std::size_t loop, std::int64_t from, std::int64_t to, const OnRun& on_run) {
    if (loop == copy.loops.size()) return on_run(from, to);
    const CopyLoop& by = copy.loops[loop];
    for (std::int64_t i = 0; i < by.count; ++i) {
        if (!every_run(copy, loop + 1, from + i * by.source_stride_bytes, to + i * by.target_stride_bytes, on_run))
            return false;
    }
    return true;
}

void require_within(const Copy& copy, std::size_t source_bytes, std::size_t target_bytes) {
    std::int64_t source = copy.source_begin + copy.bytes;
    std::int64_t target = copy.target_begin + copy.bytes;
    for (const CopyLoop& loop : copy.loops) {
        source += (loop.count - 1) * loop.source_stride_bytes;
        target += (loop.count - 1) * loop.target_stride_bytes;
    }
    SP_ASSERT(copy.source_begin >= 0 && source <= static_cast<std::int64_t>(source_bytes));
    SP_ASSERT(copy.target_begin >= 0 && target <= static_cast<std::int64_t>(target_bytes));
}

}  // namespace

void gather(const LoadPlan& plan, std::span<const std::span<const std::byte>> tensors, std::span<std::byte> target) {
    SP_ASSERT(tensors.size() == plan.tensors.size());
    for (const Copy& copy : plan.copies) {
        const std::span<const std::byte> source = tensors[copy.tensor_idx];
        require_within(copy, source.size(), target.size());
        every_run(copy, 0, copy.source_begin, copy.target_begin, [&](std::int64_t from, std::int64_t to) {
            std::memcpy(target.data() + to, source.data() + from, static_cast<std::size_t>(copy.bytes));
            return true;
        });
    }
}

bool holds(const LoadPlan& plan, const Checkpoint& checkpoint, std::span<const std::byte> shard) {
    std::vector<std::span<const std::byte>> tensors;
    for (const std::string& name : plan.tensors) tensors.push_back(checkpoint.tensor(name).bytes);
    return std::ranges::all_of(plan.copies, [&](const Copy& copy) {
        const std::span<const std::byte> source = tensors[copy.tensor_idx];
        require_within(copy, source.size(), shard.size());
        return every_run(copy, 0, copy.source_begin, copy.target_begin, [&](std::int64_t from, std::int64_t to) {
            return std::memcmp(source.data() + from, shard.data() + to, static_cast<std::size_t>(copy.bytes)) == 0;
        });
    });
}

std::int64_t shortest_run(const LoadPlan& plan) {
    std::int64_t shortest = std::numeric_limits<std::int64_t>::max();
    for (const Copy& copy : plan.copies) shortest = std::min(shortest, copy.bytes);
    return shortest;
}

}  // namespace shardproof::verify
