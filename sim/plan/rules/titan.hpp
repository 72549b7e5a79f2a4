// What TorchTitan's rule sets share: model parallelism (tp and ep), and the rows that table.cpp lists.
// Source: facts 3.1, 3.2; torchtitan 0.3.0 models/common/{decoder,moe}_sharding.py.
#pragma once
#include <optional>

#include "sim/plan/rules/rule_set.hpp"

namespace shardproof {

// tp on the dense mesh, ep on the sparse one; every other axis replicates. nullopt: no row for this role.
[[nodiscard]] std::optional<ParamPlacement> place_model_parallel(Role role, const ParallelDims& dims);
[[nodiscard]] bool is_routed_expert(Role role);
[[nodiscard]] bool has_experts(const ModelConfig& config);

// Refusals common to both: tp must divide num_heads and num_kv_heads, ep must not exceed num_experts.
void check_model_parallel(const ParallelDims& dims, const ModelConfig& config);

namespace titan_train {
void check(const ParallelDims& dims, const ModelConfig& config);
[[nodiscard]] std::optional<ParamPlacement> place(const Parameter& parameter, const ModelConfig& config,
                                                  const ParallelDims& dims);
}  // namespace titan_train

namespace titan_infer {
void check(const ParallelDims& dims, const ModelConfig& config);
[[nodiscard]] std::optional<ParamPlacement> place(const Parameter& parameter, const ModelConfig& config,
                                                  const ParallelDims& dims);
}  // namespace titan_infer

}  // namespace shardproof
