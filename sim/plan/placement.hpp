// Placement: what one mesh axis does to one tensor.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "oracle/model/box.hpp"

namespace shardproof {

struct Replicate {
    bool operator==(const Replicate&) const = default;
};
// torch.chunk: ceil(n/k) indices each, trailing ranks short or empty.
struct ShardDim {
    std::size_t dim = 0;
    bool operator==(const ShardDim&) const = default;
};
// The same split, applied after the axes to its right have split this dim into `split` parts (DTensor's _StridedShard).
struct StridedShard {
    std::size_t dim = 0;
    std::int64_t split = 1;
    bool operator==(const StridedShard&) const = default;
};
struct Partial {
    bool operator==(const Partial&) const = default;
};
// An explicit list: coordinate c of the axis holds runs[c] of `dim`. For remainders, replicated heads, redundant
// experts.
struct Owners {
    std::size_t dim = 0;
    std::vector<IndexRuns> runs;
    bool redundant = false;  // meant to hold an index more than once: coverage asks for one holder or more
    bool operator==(const Owners&) const = default;
};
using Placement = std::variant<Replicate, ShardDim, StridedShard, Partial, Owners>;

[[nodiscard]] std::string to_string(const Placement& placement);  // "R", "S(0)", "SS(0,2)", "P", "O(0)"
// The inverse; an owner list comes without its runs. nullopt: none of these, spelled to the letter.
[[nodiscard]] std::optional<Placement> placement_named(std::string_view text);

}  // namespace shardproof
