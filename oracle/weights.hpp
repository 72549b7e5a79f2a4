// The tensors of one part of the model, by the oracle's own names.
#pragma once
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "oracle/model/checkpoint.hpp"
#include "oracle/model/config.hpp"

namespace shardproof::oracle {

// Every matrix is [out, in], as a Linear stores it: y = x Wᵀ.
struct AttentionWeights {
    TensorView norm;    // [D]
    TensorView wq;      // [heads*head_dim, D]
    TensorView wk;      // [kv_heads*head_dim, D]
    TensorView wv;      // [kv_heads*head_dim, D]
    TensorView wo;      // [D, heads*head_dim]
    TensorView q_norm;  // [head_dim], only with GroupedQueryAttention::qk_norm
    TensorView k_norm;  // [head_dim], only with GroupedQueryAttention::qk_norm
};
struct MlpWeights {
    TensorView gate;  // [F, D]
    TensorView up;    // [F, D]
    TensorView down;  // [D, F]
    // What the views show of a matrix that the checkpoint does not store so.
    std::vector<std::shared_ptr<const Tensor>> turned = {};
};

// Views into a checkpoint, which must outlive it. A missing tensor is Checkpoint's InputError, a wrong shape ours.
class Weights {
public:
    Weights(const ModelConfig& config, const Checkpoint& checkpoint) : config_{&config}, checkpoint_{&checkpoint} {}
    [[nodiscard]] TensorView embeddings() const;  // [V,D]
    [[nodiscard]] TensorView final_norm() const;  // [D]
    [[nodiscard]] TensorView head() const;        // [V,D]; the embeddings when tied
    [[nodiscard]] AttentionWeights attention(std::int64_t layer) const;
    [[nodiscard]] TensorView mlp_norm(std::int64_t layer) const;  // [D]
    [[nodiscard]] MlpWeights feed_forward(std::int64_t layer) const;
    [[nodiscard]] TensorView router(std::int64_t layer) const;  // [E,D]
    [[nodiscard]] MlpWeights expert(std::int64_t layer, std::int64_t expert) const;
    [[nodiscard]] MlpWeights shared_expert(std::int64_t layer) const;

private:
    // A parameter that is a tensor of its own.
    [[nodiscard]] TensorView tensor(std::string_view parameter, const Shape& shape) const;
    [[nodiscard]] TensorView in_layer(std::int64_t layer, std::string_view word, const Shape& shape) const;
    [[nodiscard]] MlpWeights mlp(std::int64_t layer, std::string_view block, std::int64_t width) const;
    const ModelConfig* config_;
    const Checkpoint* checkpoint_;
};

}  // namespace shardproof::oracle
