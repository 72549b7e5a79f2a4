// The answer: how near is near, the first place it was not, and the verdict of one stage or of a whole run.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "oracle/model/batch.hpp"
#include "oracle/model/checkpoint.hpp"
#include "oracle/model/config.hpp"
#include "oracle/model/result.hpp"

namespace shardproof {

struct Mismatch {
    std::string layer;                      // "layers.1.moe", "layers.0.attention", "lm_head"
    Rank rank;
    std::vector<std::int64_t> coordinate;   // global: {sequence, position, column}
    double got = 0;
    double want = 0;
    double bound = 0;
    std::string why;                        // "output differs", "expert id", "replicas disagree", "not finite", ...
};

struct LayerVerdict {
    std::string name;             // "tok_embeddings", "layers.0", "lm_head"
    bool ok = true;
    double max_error = 0;         // of the element with the largest error / bound
    double bound = 0;             // its bound
    double max_ratio = 0;         // error / bound, the largest
    std::int64_t tokens = 0;      // judged
    std::int64_t tokens_with_other_ids = 0;  // legal: the score gap was within its bound
    std::optional<Mismatch> failure;         // the first, by (block, rank, row, column)
};

struct Verdict {
    std::vector<LayerVerdict> layers;
    [[nodiscard]] bool ok() const;
    [[nodiscard]] const Mismatch* failure() const;  // of the first failing layer
};

namespace oracle {

// Judges a backend's stages, one at a time, each on the backend's own recorded input, hidden and expert ids. Holds the
// weights of one layer. Elements are compared with a bound from a running error analysis of the dense forward: unit
// roundoff of the arithmetic, reduction lengths, and magnitudes of the very operands. NaN fails.
class Judge {
public:
    Judge(const ModelConfig& config, const Checkpoint& checkpoint, const Batch& batch, Arithmetic arithmetic);
    ~Judge();
    Judge(Judge&&) noexcept;
    [[nodiscard]] LayerVerdict judge(const StageRecord& stage);
    // Of a layer the MLP block alone, dense or MoE, on the recorded hidden: for backends that run nothing else. The
    // records of `input` are not looked at.
    [[nodiscard]] LayerVerdict judge_mlp(const StageRecord& stage) const;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace oracle
}  // namespace shardproof
