// The rows of the family table. Private to this folder: use families() of family.hpp.
#pragma once
#include <array>

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

namespace llama4 {
[[nodiscard]] ModelConfig parse(std::string_view json_text, const std::string& file);
[[nodiscard]] ModelConfig parse_text(std::string_view json_text, const std::string& file);
[[nodiscard]] std::vector<Parameter> parameters(const ModelConfig& config);
[[nodiscard]] std::int64_t active_parameters(const ModelConfig& config);
inline constexpr std::array<std::string_view, 2> kVisionPrefixes{"vision_model.", "multi_modal_projector."};
}  // namespace llama4
// As published: the text model nested beside a vision model.
inline constexpr ModelFamily kLlama4{.model_type = "llama4",
                                     .architecture = "Llama4ForConditionalGeneration",
                                     .parse = llama4::parse,
                                     .parameters = llama4::parameters,
                                     .active_parameters = llama4::active_parameters,
                                     .tied_head = "language_model.lm_head.weight",
                                     .vision_prefixes = llama4::kVisionPrefixes};
// The text model alone.
inline constexpr ModelFamily kLlama4Text{.model_type = "llama4_text",
                                         .architecture = "Llama4ForCausalLM",
                                         .parse = llama4::parse_text,
                                         .parameters = llama4::parameters,
                                         .active_parameters = llama4::active_parameters};

}  // namespace shardproof
