// Small pieces of text for people: sizes, ranges, index runs, aligned tables.
#pragma once
#include <cstdint>
#include <iosfwd>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "oracle/model/box.hpp"
#include "oracle/model/ids.hpp"

namespace shardproof::reports {

// A word of the user's for the value of an InputError, which escapes control characters itself: cut to 200 bytes with
// "..." at a character boundary.
[[nodiscard]] std::string shortened(std::string_view text);

// "1,234,567"
[[nodiscard]] std::string grouped(std::uint64_t number);
// "640 B", "1.5 MiB"; three significant digits.
[[nodiscard]] std::string bytes_text(std::uint64_t bytes);
// Ascending numbers as runs: {0,1,2,5} -> "0-2,5".
[[nodiscard]] std::string ranges_text(std::span<const std::int64_t> numbers);
// "[0:16]", "[0:2 4:6]", "[]"; one bracket a dim.
[[nodiscard]] std::string index_text(std::span<const IndexRuns> index);
// "[0 2 4 6]"; of more than eight ranks the first and last three: "[0 8 16 ... 104 112 120]".
[[nodiscard]] std::string group_text(std::span<const Rank> ranks);

// Rows of equal length; columns are as wide as their widest cell, numbers to the right where `right` says so.
class Table {
public:
    explicit Table(std::vector<std::string> header) { rows_.push_back(std::move(header)); }
    void add(std::vector<std::string> row);
    void align_right(std::size_t column);
    void print(std::ostream& out) const;

private:
    std::vector<std::vector<std::string>> rows_;  // the header first
    std::vector<std::size_t> right_;
};

}  // namespace shardproof::reports
