// Judging the oracle by logits that another program recorded.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>

#include "oracle/judge.hpp"
#include "oracle/model/batch.hpp"
#include "oracle/model/model.hpp"
#include "oracle/model/safetensors.hpp"

namespace shardproof::reports {

class Reference {
public:
    // The file's tensor `logits` [B,S,V]. Throws InputError for another shape or dtype.
    Reference(const std::filesystem::path& file, const InputIds& ids, const ModelConfig& config);

    // The oracle's logits against these: the first that differs. The bound is a share of the largest logit, by the
    // tensor's dtype: F64 1e-10, F32 1e-5, F16 1e-2, BF16 5e-2.
    [[nodiscard]] std::optional<Mismatch> judge(const Model& model, const Batch& batch) const;

private:
    SafetensorsFile file_;
    TensorView logits_;
    std::int64_t sequence_length_;
    double share_ = 0;
};

}  // namespace shardproof::reports
