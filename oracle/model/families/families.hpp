// The rows of the family table. Private to this folder: use families() of family.hpp.
#pragma once
#include "oracle/model/family.hpp"

namespace shardproof {

namespace qwen3_moe {
[[nodiscard]] ModelConfig parse(std::string_view json_text, const std::string& file);
[[nodiscard]] std::vector<Parameter> parameters(const ModelConfig& config);
[[nodiscard]] std::int64_t active_parameters(const ModelConfig& config);
}  // namespace qwen3_moe
inline constexpr ModelFamily kQwen3Moe{.model_type = "qwen3_moe",
                                       .architecture = "Qwen3MoeForCausalLM",
                                       .parse = qwen3_moe::parse,
                                       .parameters = qwen3_moe::parameters,
                                       .active_parameters = qwen3_moe::active_parameters};

}  // namespace shardproof
