// The whole forward, dense and in double precision: one rank, no mesh. Reads like the paper.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "oracle/model/batch.hpp"
#include "oracle/model/checkpoint.hpp"
#include "oracle/model/config.hpp"

namespace shardproof::oracle {

// Row-major doubles without Eigen in the interface.
struct Logits {
    std::int64_t rows = 0;  // tokens of the batch, in TokenId order
    std::int64_t cols = 0;  // vocab_size
    std::vector<double> values;
};
// Holds one layer's weights at a time. `progress`, if any, is told (stages done, stages in all).
[[nodiscard]] Logits forward(const ModelConfig& config, const Checkpoint& checkpoint, const Batch& batch,
                             const std::function<void(std::int64_t, std::int64_t)>& progress = {});

// A whole parameter (contract's name, "layers.0.moe.experts.w1") in its checkpoint dtype, assembled by the oracle's own
// name table: never through ModelFamily's sources or LoadPlan. For judging what a load put where.
[[nodiscard]] Tensor whole_parameter(const ModelConfig& config, const Checkpoint& checkpoint, std::string_view name);

}  // namespace shardproof::oracle
