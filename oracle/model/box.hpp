// Half-open index ranges: a Run of one dim, a Box of all dims, and the runs that a shard holds of one dim.
#pragma once
#include <cstdint>
#include <vector>

namespace shardproof {

struct Run {
    std::int64_t begin = 0;
    std::int64_t end = 0;
    [[nodiscard]] std::int64_t size() const { return end - begin; }
    bool operator==(const Run&) const = default;
};

using Box = std::vector<Run>;        // one run a dim
using IndexRuns = std::vector<Run>;  // several runs of one dim, in storage order; empty = holds nothing

[[nodiscard]] inline std::int64_t num_indices(const IndexRuns& runs) {
    std::int64_t count = 0;
    for (const Run& run : runs) count += run.size();
    return count;
}

}  // namespace shardproof
