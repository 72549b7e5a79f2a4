// Views: the ways in which the matrices of a shard may lie transposed in a dump.
#pragma once
#include <span>
#include <vector>

#include "sim/verify/lines.hpp"

namespace shardproof::verify {

enum class View : std::uint8_t {
    as_is,
    transposed,      // the bytes are those of the transposed matrices, whatever shape they are declared with
    read_transposed, // the matrices' bytes, read as if they lay transposed
    cut_transposed,  // square matrices, transposed as wholes before they were cut
};

// `values` of a shard of `shape` put right as if they lay so: the last two dims of each matrix.
[[nodiscard]] std::vector<Value> put_right(View view, std::span<const Value> values, const Shape& shape);
// What a shard of `index` would be of the transposed parameter; empty where its matrices are not square.
[[nodiscard]] std::vector<Value> cut_of_transposed(const LineReader& reader, const Parameter& parameter,
                                                   std::size_t param, const std::vector<IndexRuns>& index);

}  // namespace shardproof::verify
