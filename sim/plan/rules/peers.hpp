// Rule sets of other frameworks, and what they share: rows that table.cpp lists.
#pragma once
#include <optional>

#include "sim/plan/rules/rule_set.hpp"

namespace shardproof {

// Where the axes of make_meshes_with_etp stand in the sparse mesh, and tp in the dense one.
inline constexpr std::size_t kEpAxis = 3;
inline constexpr std::size_t kEtpAxis = 4;
inline constexpr std::size_t kNumSparseAxes = 5;
inline constexpr std::size_t kTpAxis = 3;

// Throws InputError naming `option` unless `degree` divides `extent`, which is called `what`.
void require_divides(const char* option, std::int64_t degree, std::int64_t extent, const char* what);

namespace vllm {
void check(const ParallelDims& dims, const ModelConfig& config, const RuleOptions& options);
[[nodiscard]] std::optional<ParamPlacement> place(const Parameter& parameter, const ModelConfig& config,
                                                  const ParallelDims& dims, const RuleOptions& options);
[[nodiscard]] Meshes meshes(const ParallelDims& dims);
}  // namespace vllm

namespace megatron {
void check(const ParallelDims& dims, const ModelConfig& config, const RuleOptions& options);
[[nodiscard]] std::optional<ParamPlacement> place(const Parameter& parameter, const ModelConfig& config,
                                                  const ParallelDims& dims, const RuleOptions& options);
[[nodiscard]] Meshes meshes(const ParallelDims& dims);
}  // namespace megatron

}  // namespace shardproof
