// Result: what one run computed, rank by rank, stage by stage. Written by the backends, read by the judge.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "oracle/model/ids.hpp"
#include "oracle/model/tensor.hpp"

namespace shardproof {

// Row-major [rows, cols] of f32: bf16 values are held widened.
struct Rows {
    std::int64_t cols = 0;
    std::vector<float> values;
    [[nodiscard]] std::int64_t rows() const { return cols == 0 ? 0 : static_cast<std::int64_t>(values.size()) / cols; }
    [[nodiscard]] float* row(std::int64_t r) { return values.data() + r * cols; }
    [[nodiscard]] const float* row(std::int64_t r) const { return values.data() + r * cols; }
};

// What one rank recorded of one stage; row i of every matrix belongs to tokens[i]. Without sequence parallelism the
// ranks of a tp group record the same tokens; with it each records its slice.
struct RankRecord {
    std::vector<TokenId> tokens;
    Rows input;                              // stage input [n,D]; for the embedding stage empty
    Rows hidden;                             // layers: after attention and its residual [n,D]
    Rows output;                             // embeddings [n,D], layer output [n,D], or logits [n,V]
    std::vector<ExpertId> expert_ids;        // MoE layers: [n,K] row-major, in the order chosen; else empty
    std::vector<float> expert_weights;       // [n,K], the factor each expert's output got
};

enum class StageKind : std::uint8_t { embeddings, layer, head };
struct StageRecord {
    StageKind kind{};
    std::int64_t layer = -1;                 // of StageKind::layer
    std::vector<RankRecord> ranks;           // one a rank of the world
};
[[nodiscard]] std::string name_of(StageKind kind, std::int64_t layer);  // "tok_embeddings", "layers.3", "lm_head"

enum class Arithmetic : std::uint8_t { f32, bf16 };  // what a backend computes in; bf16 accumulates in f32

struct Result {
    Arithmetic arithmetic{};
    std::vector<StageRecord> stages;
};

}  // namespace shardproof
