// The attention block of a layer with error bounds, whatever its kind.
#pragma once
#include <cstdint>

#include "oracle/bounded.hpp"
#include "oracle/weights.hpp"

namespace shardproof::oracle {

// As oracle::attention on normed x [N,D].
[[nodiscard]] Bounded bounded_attention(const ModelConfig& config, std::int64_t layer, const AttentionWeights& weights,
                                        const RopeTable& rope, const TokenLayout& tokens, const Bounded& x,
                                        const Roundoff& roundoff);

}  // namespace shardproof::oracle
