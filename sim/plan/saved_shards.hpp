// What the ranks of one layout saved, as sources of what another layout loads, and of the published tensors.
#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "oracle/model/family.hpp"

namespace shardproof {

// A shard of a parameter, as a tensor of its own.
struct SavedShard {
    std::string tensor;            // its name, unlike that of any other shard
    std::vector<IndexRuns> index;  // of the parameter: one entry a dim, runs in storage order
};

struct AssembledParam {
    // Disjoint boxes of the parameter; an element that several shards hold is taken from the first of them.
    std::vector<Source> sources;
    std::vector<Box> uncovered;        // what no shard holds
    std::vector<std::size_t> doubled;  // shards of which an element is taken from another one, ascending
};

// Runs must lie in `shape`. Shards with the same index as an earlier one cost time and add nothing: leave them out.
[[nodiscard]] AssembledParam assemble(const Shape& shape, std::span<const SavedShard> shards);

// The inverse of a family's sources: every tensor that `published` reads, in the order of its first reading, as a
// parameter that reads the shards that `saved` reads. Both list the same parameters. The shape is that of the tensor,
// after as many dims of extent 1 as a parameter has more than it: loading all of it gives the tensor's bytes. Role and
// layer are those of the first parameter that reads it.
[[nodiscard]] std::vector<Parameter> published_tensors(std::span<const Parameter> published,
                                                       std::span<const Parameter> saved);
// Elements that no source of the parameter has.
[[nodiscard]] std::int64_t num_uncovered(const Parameter& parameter);

}  // namespace shardproof
