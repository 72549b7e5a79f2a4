// Softmax of one row of scores.
#pragma once
#include <algorithm>
#include <cmath>
#include <span>

namespace shardproof::oracle {

// exp(s - max) / sum, in place; at least one score.
inline void softmax(std::span<double> scores) {
    const double largest = *std::max_element(scores.begin(), scores.end());
    double sum = 0.0;
    for (double& score : scores) sum += score = std::exp(score - largest);
    for (double& score : scores) score /= sum;
}

}  // namespace shardproof::oracle
