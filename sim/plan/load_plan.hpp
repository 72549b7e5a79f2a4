// LoadPlan: parameter shard -> byte ranges of checkpoint tensors, straight to their place. A value; executed by load().
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "oracle/model/checkpoint.hpp"
#include "sim/plan/plan.hpp"

namespace shardproof {

// A strided block copy: `bytes` contiguous bytes, repeated over up to a few loops, outermost first.
struct CopyLoop {
    std::int64_t count = 1;
    std::int64_t source_stride_bytes = 0;
    std::int64_t target_stride_bytes = 0;
};
struct Copy {
    std::uint32_t tensor_idx = 0;  // into LoadPlan::tensors
    std::int64_t source_begin = 0;  // byte offset in the checkpoint tensor
    std::int64_t target_begin = 0;  // byte offset in the shard
    std::int64_t bytes = 0;  // contiguous on both sides
    std::vector<CopyLoop> loops;
};

struct LoadPlan {
    std::string param;
    DType dtype{};
    Shape shape;  // of the shard
    std::vector<std::string> tensors;  // checkpoint tensors read
    std::vector<Copy> copies;  // in ascending target order where that is possible
    [[nodiscard]] std::int64_t shard_bytes() const;
    [[nodiscard]] std::int64_t bytes_read() const;  // summed over copies
};

// For one parameter and one rank's index of it (Plan's shard_of, or any other).
[[nodiscard]] LoadPlan make_load_plan(const Parameter& parameter, DType dtype, const std::vector<IndexRuns>& index);
[[nodiscard]] LoadPlan make_load_plan(const Plan& plan, std::size_t param_idx, Rank rank);

// Executes it. target.size() == shard_bytes(). Reads no byte outside the plan. Returns bytes copied.
std::int64_t load(const LoadPlan& plan, const Checkpoint& checkpoint, std::span<std::byte> target);
// The inverse, for merging: writes the shard's bytes to their places. tensors[i] holds all bytes of plan.tensors[i].
std::int64_t store(const LoadPlan& plan, std::span<const std::byte> shard,
                   std::span<const std::span<std::byte>> tensors);

// The byte ranges of the file that it reads, as (tensor, begin, end) merged and ascending: for proofs and --dry-run.
struct ByteRange {
    std::string tensor;
    std::int64_t begin = 0;
    std::int64_t end = 0;
    bool operator==(const ByteRange&) const = default;
};
[[nodiscard]] std::vector<ByteRange> byte_ranges(const LoadPlan& plan);

}  // namespace shardproof
