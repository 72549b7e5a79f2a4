// ContentIndex: where in the checkpoint a line is, by its hash. Reads every byte that the plan has once and keeps
// hashes alone.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "sim/verify/lines.hpp"
#include "sim/verify/narrow.hpp"

namespace shardproof::verify {

// The columns that lines of a parameter are cut to: one list of runs for each distinct cut.
using ColumnCuts = std::vector<std::vector<IndexRuns>>;  // one entry a parameter
// Those of all ranks of the plan.
[[nodiscard]] ColumnCuts column_cuts(const Plan& plan);
// Adds the cuts of a parameter's whole lines into equal parts of `width`, those that are there already left out.
void add_width(ColumnCuts& cuts, const Plan& plan, std::size_t param, std::int64_t width);

struct Origin {
    std::size_t param = 0;
    std::size_t cut = 0;  // into ColumnCuts[param]
    std::int64_t line = 0;
    bool operator==(const Origin&) const = default;
};

class ContentIndex {
public:
    // Of values that passed through `narrow`, where one is given. Keeps about `entries_max` lines, of larger
    // checkpoints every n-th hash (stride()).
    ContentIndex(const Plan& plan, const LineReader& reader, const ColumnCuts& cuts, std::optional<Narrow> narrow,
                 std::size_t entries_max);
    // The lines with this hash: many for content that comes often. A hash that stride() does not divide is none.
    [[nodiscard]] std::vector<Origin> find(std::uint64_t hash) const;
    [[nodiscard]] std::uint64_t stride() const { return stride_; }

private:
    struct Entry {
        std::uint64_t hash;
        std::uint64_t place;  // parameter, cut and line, packed
    };
    void add(std::size_t param, std::size_t cut, std::int64_t first, std::span<const Value> values, std::int64_t width);

    std::vector<Entry> entries_;  // ascending hashes
    std::uint64_t stride_ = 1;
};

}  // namespace shardproof::verify
