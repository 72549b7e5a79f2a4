// FoundShard: what a rank's file has of one parameter, taken out of the tensors that hold it.
#pragma once
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sim/verify/dump.hpp"

namespace shardproof::verify {

struct FoundShard {
    bool is_there = false;             // any of it
    Shape planned;                     // of the shard
    Shape shape;                       // as the file has it
    DType dtype{};
    std::span<const std::byte> bytes;  // of `shape`, row-major: the file's own, or `owned`
    std::vector<std::byte> owned;
    bool is_turned = false;    // declared with its last two dims swapped, and turned back
    bool is_padded = false;    // rows beyond the plan's that its rules allot to padding; left out of bytes
    std::optional<Shape> reshaped;  // the shape declared, where it is another of as many elements
    std::string trouble;       // why `bytes` are nothing to compare
    std::vector<std::string> absent;            // tensors of the shard that are not there, as looked for
    std::vector<std::int64_t> absent_experts;   // the same where each expert has its tensor
    std::vector<std::int64_t> named_experts;    // what the tensors taken are named for, in the order taken
    std::vector<std::int64_t> more_experts;     // whose tensors are there and should not be: taken only if some lack
    std::vector<std::string> names;             // of all tensors that are this parameter's, canonical
    [[nodiscard]] bool is_as_declared() const { return shape == planned && trouble.empty() && !is_turned && !reshaped; }
};

// Of several spellings that with most of its tensors, and among these one whose shapes fit. `more_experts` are tensors
// of experts of this parameter that the rank should not have.
[[nodiscard]] FoundShard find_shard(const Plan& plan, const NameTable& names, const RankTensors& tensors,
                                    std::size_t param, Rank rank, std::span<const std::int64_t> more_experts);

}  // namespace shardproof::verify
