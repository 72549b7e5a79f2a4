// What the families' configs have in common. Private to their parsers.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

#include "oracle/model/config.hpp"
#include "oracle/model/config_fields.hpp"

namespace shardproof {

inline constexpr std::int64_t kLayersMax = 65536;

// Each of these throws InputError naming the field.

// "architectures", where it is set, has this one entry.
void check_architecture(ConfigFields& fields, std::string_view architecture);
// num_attention_heads and num_key_value_heads, which divides them; head_dim is left 0.
[[nodiscard]] Heads parse_num_heads(ConfigFields& fields);
// An even size: rotary embedding turns pairs.
[[nodiscard]] std::int64_t parse_head_dim(ConfigFields& fields);
// The number of experts under that spelling, bounded with the number of layers.
[[nodiscard]] std::int64_t parse_num_experts(ConfigFields& fields, std::string_view key, std::int64_t num_layers);
// num_experts_per_tok, no more than the experts, which are named by `experts`.
[[nodiscard]] std::int64_t parse_top_k(ConfigFields& fields, std::string_view experts, std::int64_t num_experts);
// The layers that a list names, in layer order; nullopt where it is absent or null.
[[nodiscard]] std::optional<std::vector<bool>> parse_layers(ConfigFields& fields, std::string_view key,
                                                            std::int64_t num_layers);
// torch_dtype or dtype; nullopt where neither is set.
[[nodiscard]] std::optional<DType> parse_dtype(ConfigFields& fields);
// All sizes together: so that counts of elements and bytes fit std::int64_t.
void check_size(const ConfigFields& fields, const ModelConfig& config);

}  // namespace shardproof
