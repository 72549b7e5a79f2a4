// RMSNorm, over rows of any width: the hidden size, or one head.
#pragma once
#include <cmath>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "oracle/eigen.hpp"

namespace shardproof::oracle {

// x / sqrt(mean(x²) + eps) * weight, each run of weight.size() values by itself: [n, D] with weight [D] normalises
// rows, [n, heads*head_dim] with weight [head_dim] normalises heads.
[[nodiscard]] inline Matrix rms_norm(Matrix x, std::span<const double> weight, double eps) {
    const auto width = static_cast<Index>(weight.size());
    const Eigen::Map<const RowVector> scale{weight.data(), width};
    Eigen::Map<Matrix> runs{x.data(), x.size() / width, width};
    for (Index r = 0; r < runs.rows(); ++r) {
        const double mean_square = runs.row(r).squaredNorm() / static_cast<double>(width);
        runs.row(r).array() *= scale.array() / std::sqrt(mean_square + eps);
    }
    return x;
}

// The same without a weight, over each run of `width` values.
[[nodiscard]] inline Matrix l2_norm(Matrix x, std::int64_t width, double eps) {
    return rms_norm(std::move(x), std::vector<double>(static_cast<std::size_t>(width), 1.0), eps);
}

}  // namespace shardproof::oracle
