#include "sim/verify/views.hpp"

#include <algorithm>
#include <utility>

#include "oracle/model/error.hpp"

namespace shardproof::verify {
namespace {

// Each of the matrices [rows, cols] in `values` as [cols, rows].
std::vector<Value> transposed_matrices(std::span<const Value> values, std::int64_t rows, std::int64_t cols) {
    constexpr std::size_t kSide = 16;
    const auto num_rows = static_cast<std::size_t>(rows);
    const auto num_cols = static_cast<std::size_t>(cols);
    std::vector<Value> out(values.size());
    for (std::size_t matrix = 0; matrix < values.size(); matrix += num_rows * num_cols) {
        for (std::size_t r0 = 0; r0 < num_rows; r0 += kSide) {
            for (std::size_t c = 0; c < num_cols; ++c) {
                for (std::size_t r = r0; r < std::min(num_rows, r0 + kSide); ++r)
                    out[matrix + c * num_rows + r] = values[matrix + r * num_cols + c];
            }
        }
    }
    return out;
}

}  // namespace

std::vector<Value> put_right(View view, std::span<const Value> values, const Shape& shape) {
    SP_ASSERT(shape.size() >= 2);
    const std::int64_t rows = shape[shape.size() - 2];
    const std::int64_t cols = shape.back();
    switch (view) {
        case View::transposed:
            return transposed_matrices(values, cols, rows);
        case View::read_transposed:
            return transposed_matrices(values, rows, cols);
        default:
            return {values.begin(), values.end()};
    }
}

std::vector<Value> cut_of_transposed(const LineReader& reader, const Parameter& parameter, std::size_t param,
                                     const std::vector<IndexRuns>& index) {
    const std::size_t n = index.size();
    if (n < 2 || parameter.shape[n - 1] != parameter.shape[n - 2]) return {};
    std::vector<IndexRuns> turned = index;
    std::swap(turned[n - 1], turned[n - 2]);
    const Shape shape = local_shape(turned);
    return transposed_matrices(reader.read(param, turned), shape[n - 2], shape[n - 1]);
}

}  // namespace shardproof::verify
