// What a rank holds, in words: "experts 24..31", "rows 0..15, columns 32..63". Ranges include their ends.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "sim/verify/lines.hpp"

namespace shardproof::verify {

// Ascending or not: "experts 0..3, 8", "expert 5".
[[nodiscard]] std::string counted(std::string_view what, const std::vector<std::int64_t>& numbers);
[[nodiscard]] std::string index_in_words(const Parameter& parameter, const std::vector<IndexRuns>& index);
// Lines of one parameter, cut to columns.
[[nodiscard]] std::string lines_in_words(const Parameter& parameter, const std::vector<LineRun>& lines,
                                         const IndexRuns& columns);

}  // namespace shardproof::verify
