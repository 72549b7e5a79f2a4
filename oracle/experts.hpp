// SwiGLU, and the mixture of experts that is made of it.
#pragma once
#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include "oracle/eigen.hpp"
#include "oracle/router.hpp"
#include "oracle/weights.hpp"

namespace shardproof::oracle {

[[nodiscard]] inline double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// (silu(x Wgateᵀ) * (x Wupᵀ)) Wdownᵀ: [n,D] -> [n,D].
[[nodiscard]] Matrix swiglu(const Matrix& x, const MlpWeights& weights);

// The places k of `ids` [n,K] that chose each expert: one list an expert, each entry token*K + k, in token order.
[[nodiscard]] std::vector<std::vector<std::int64_t>> slots_by_expert(const std::vector<std::int64_t>& ids,
                                                                     std::int64_t num_experts);

// Sum over the chosen experts of weight * swiglu(x), or of swiglu(weight * x) with ScoreOn::input: [n,D] -> [n,D].
// `expert` gives an expert's weights; it is asked once an expert that has tokens, in ExpertId order.
[[nodiscard]] Matrix experts(const RouterSpec& spec, const Matrix& x, const Routing& routing,
                             const std::function<MlpWeights(std::int64_t)>& expert);

}  // namespace shardproof::oracle
