// Weights widened exactly to double, block by block, and y = x Wᵀ over them.
#pragma once
#include <vector>

#include "oracle/eigen.hpp"
#include "oracle/model/tensor.hpp"

namespace shardproof::oracle {

// Rows [begin, end) of a [rows, cols] tensor of BF16, F16, F32 or F64.
[[nodiscard]] Matrix widen_rows(const TensorView& tensor, Index begin, Index end);
[[nodiscard]] std::vector<double> widen(const TensorView& tensor);
// How many rows to widen at once: a few MiB, so that the largest matrix costs no more memory than the smallest.
[[nodiscard]] Index rows_per_block(const TensorView& tensor);

// a bᵀ: [n,k], [m,k] -> [n,m].
[[nodiscard]] Matrix times_transposed(const Matrix& a, const Matrix& b);
// x Wᵀ: [n,in], [out,in] -> [n,out].
[[nodiscard]] Matrix linear(const Matrix& x, const TensorView& weight);

}  // namespace shardproof::oracle
