// What TorchTitan's rule sets share: model parallelism (tp and ep), and the rows that table.cpp lists.
// Source: facts 3.1, 3.2; torchtitan 0.3.0 models/common/{decoder,moe}_sharding.py.
#pragma once
#include <optional>

#include "sim/plan/rules/rule_set.hpp"

namespace shardproof {

// tp on the dense mesh, ep on the sparse one; every other axis replicates. nullopt: no row for this role.
[[nodiscard]] std::optional<ParamPlacement> place_model_parallel(Role role, const ParallelDims& dims);
// The dim of a routed expert's parameter that a tensor-parallel cut of the hidden width takes: 1 of w1 and w3, 2 of w2.
[[nodiscard]] std::size_t hidden_width_dim(Role role);
[[nodiscard]] bool has_experts(const ModelConfig& config);
[[nodiscard]] bool has_dense_mlp(const ModelConfig& config);

// Throws InputError naming the option unless the degree is 1.
void require_one(const char* option, std::int64_t degree, const char* rules);

// Refusals common to all: tp must divide num_heads and num_kv_heads, ep must not exceed num_experts.
void check_model_parallel(const ParallelDims& dims, const ModelConfig& config);

// ep must not exceed num_experts, where there are experts.
void check_expert_parallel(const ParallelDims& dims, const ModelConfig& config);

// The degrees that inference takes: dp_replicate = cp = pp = 1, ep is 1 or dp_shard*tp.
void check_inference_degrees(const ParallelDims& dims, const char* rules);
// The same, and check_model_parallel().
void check_as_titan_infer(const ParallelDims& dims, const ModelConfig& config, const char* rules);

namespace titan_train {
void check(const ParallelDims& dims, const ModelConfig& config, const RuleOptions& options);
[[nodiscard]] std::optional<ParamPlacement> place(const Parameter& parameter, const ModelConfig& config,
                                                  const ParallelDims& dims, const RuleOptions& options);
}  // namespace titan_train

namespace titan_infer {
void check(const ParallelDims& dims, const ModelConfig& config, const RuleOptions& options);
[[nodiscard]] std::optional<ParamPlacement> place(const Parameter& parameter, const ModelConfig& config,
                                                  const ParallelDims& dims, const RuleOptions& options);
}  // namespace titan_infer

namespace titan_infer_fsdp {
void check(const ParallelDims& dims, const ModelConfig& config, const RuleOptions& options);
[[nodiscard]] std::optional<ParamPlacement> place(const Parameter& parameter, const ModelConfig& config,
                                                  const ParallelDims& dims, const RuleOptions& options);
}  // namespace titan_infer_fsdp

}  // namespace shardproof
