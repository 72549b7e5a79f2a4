#include <algorithm>
#include <map>

#include "sim/plan/load_plan.hpp"

namespace shardproof {
namespace {

struct Range {
    std::int64_t begin = 0;
    std::int64_t end = 0;
};

// The order of a copy's loops is the target's; for ranges only the set counts, so they are walked in the source's
// order, and loops that fill the gaps of those below them (a transposed tensor read whole) become one range.
void append_ranges(const Copy& copy, std::vector<Range>& ranges) {
    std::vector<CopyLoop> loops = copy.loops;
    std::sort(loops.begin(), loops.end(),
              [](const CopyLoop& a, const CopyLoop& b) { return a.source_stride_bytes > b.source_stride_bytes; });
    std::int64_t bytes = copy.bytes;
    while (!loops.empty() && loops.back().source_stride_bytes == bytes) {
        bytes *= loops.back().count;
        loops.pop_back();
    }
    std::vector<std::int64_t> at(loops.size(), 0);
    for (;;) {
        std::int64_t begin = copy.source_begin;
        for (std::size_t i = 0; i < loops.size(); ++i) begin += at[i] * loops[i].source_stride_bytes;
        ranges.push_back({begin, begin + bytes});
        std::size_t i = loops.size();
        for (; i > 0; --i) {
            if (++at[i - 1] < loops[i - 1].count) break;
            at[i - 1] = 0;
        }
        if (i == 0) return;
    }
}

}  // namespace

std::vector<ByteRange> byte_ranges(const LoadPlan& plan) {
    std::map<std::string, std::vector<Range>> ranges_of;
    for (const Copy& copy : plan.copies) append_ranges(copy, ranges_of[plan.tensors.at(copy.tensor_idx)]);
    std::vector<ByteRange> merged;
    for (auto& [tensor, ranges] : ranges_of) {
        std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
        const std::size_t first = merged.size();
        for (const Range& range : ranges) {
            if (merged.size() > first && range.begin <= merged.back().end) {
                merged.back().end = std::max(merged.back().end, range.end);
            } else {
                merged.push_back({tensor, range.begin, range.end});
            }
        }
    }
    return merged;
}

}  // namespace shardproof
