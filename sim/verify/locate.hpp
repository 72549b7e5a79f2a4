// Where in the checkpoint the lines of a dump come from: seeds by hash, grown line by line.
#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "sim/verify/content_index.hpp"

namespace shardproof::verify {

// Values as lines.
struct LineArray {
    std::int64_t width = 1;
    std::vector<Value> values;
    [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(values.size()) / width; }
    [[nodiscard]] std::span<const Value> line(std::int64_t i) const {
        return std::span{values}.subspan(static_cast<std::size_t>(i * width), static_cast<std::size_t>(width));
    }
};

// Lines [begin, begin + count) are lines origin.line, + 1, .. of the checkpoint: of each of `origins`, where the same
// content is there several times.
struct PlacedRun {
    std::int64_t begin = 0;
    std::int64_t count = 0;
    std::vector<Origin> origins;
};

// Where to look: the lines that the rank should hold, and, where there is one, an index of all.
class Lookup {
public:
    Lookup(LineReader reader, const ColumnCuts& cuts, const ContentIndex* index)
        : reader_{reader}, cuts_{&cuts}, index_{index} {}
    void add_own(const LineArray& planned, const Held& held, std::size_t cut);

    // Several origins, none of them more likely; none at all where there are too many.
    [[nodiscard]] std::vector<Origin> find(std::span<const Value> line) const;
    // Whether find() can know of this line: constant ones are nowhere, and a large index keeps but some.
    [[nodiscard]] bool can_find(std::span<const Value> line) const;
    // The line at an origin; nothing where the parameter has no such line.
    [[nodiscard]] std::span<const Value> line_at(const Origin& origin) const;

private:
    LineReader reader_;
    const ColumnCuts* cuts_;
    const ContentIndex* index_;
    std::vector<std::pair<std::uint64_t, Origin>> own_;  // ascending
    struct Block {
        Origin first;
        LineArray lines;
    };
    mutable std::vector<Block> blocks_;  // the last ones read
    mutable std::size_t next_block_ = 0;
};

// Places lines of `found` that are `open`; every second element of a line must be right.
[[nodiscard]] std::vector<PlacedRun> place_lines(const LineArray& found, const std::vector<bool>& open,
                                                 const Lookup& lookup);

// Elements at which two lines of the same length are equal.
[[nodiscard]] std::int64_t num_equal(std::span<const Value> a, std::span<const Value> b);

}  // namespace shardproof::verify
