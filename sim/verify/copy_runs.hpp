// The copies of a LoadPlan as runs of bytes, between tensors that are in no checkpoint, or to compare instead of to
// copy.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "oracle/model/checkpoint.hpp"
#include "sim/plan/load_plan.hpp"

namespace shardproof::verify {

// Copies tensors[i], all bytes of plan.tensors[i], into `target` of plan.shard_bytes().
void gather(const LoadPlan& plan, std::span<const std::span<const std::byte>> tensors, std::span<std::byte> target);
// Whether `shard` has the bytes that the plan would load: compared where they lie, nothing is copied.
[[nodiscard]] bool holds(const LoadPlan& plan, const Checkpoint& checkpoint, std::span<const std::byte> shard);
// Bytes of the shortest run, so that a caller may prefer to load what is scattered.
[[nodiscard]] std::int64_t shortest_run(const LoadPlan& plan);

}  // namespace shardproof::verify
