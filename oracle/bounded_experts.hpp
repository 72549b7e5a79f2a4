// Router and experts with error bounds, for the expert ids that a backend chose.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "oracle/bounded.hpp"
#include "oracle/weights.hpp"

namespace shardproof::oracle {

// A backend's scores of one token lie within `scores.error` of `scores.value`, times a factor within 1 +- common that
// they share (softmax's normaliser), so that two of them may be compared by the error alone.
struct ScoreBounds {
    Bounded scores;              // [n,E]
    std::vector<double> common;  // [n]
};
[[nodiscard]] ScoreBounds bounded_scores(const RouterSpec& spec, Bounded logits, const Roundoff& roundoff);

// The weights of `ids` [n,K] row-major: [n,K].
[[nodiscard]] Bounded bounded_weights(const RouterSpec& spec, const ScoreBounds& scores,
                                      std::span<const std::int64_t> ids, const Roundoff& roundoff);

// swiglu with the roundings of a down projection whose partial sums go on through `notes`.
[[nodiscard]] Bounded bounded_swiglu(const Bounded& x, const MlpWeights& weights, const Roundoff& roundoff,
                                     LinearNotes notes);

// As oracle::experts on given ids and weights.
[[nodiscard]] Bounded bounded_experts(const RouterSpec& spec, const Bounded& x, const std::vector<std::int64_t>& ids,
                                      const Bounded& weights, const std::function<MlpWeights(std::int64_t)>& expert,
                                      const Roundoff& roundoff);

}  // namespace shardproof::oracle
