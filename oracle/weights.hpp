// The oracle's own table of Hugging Face tensor names, and the tensors of one part of the model by it.
#pragma once
#include <cstdint>
#include <string>
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

private:
    [[nodiscard]] TensorView tensor(std::string_view name, const Shape& shape) const;
    const ModelConfig* config_;
    const Checkpoint* checkpoint_;
};

// The checkpoint tensors of a parameter by the contract's name: one, or one an expert in ExpertId order (stacked into a
// leading dim). Throws InputError for a name that the model does not have.
struct NamedTensors {
    std::vector<std::string> tensors;
    bool stacked = false;
};
[[nodiscard]] NamedTensors tensors_of(const ModelConfig& config, std::string_view parameter);

}  // namespace shardproof::oracle
