// The rope fields of a config.json in both spellings. Private to the families' parsers.
#pragma once
#include "oracle/model/config.hpp"
#include "oracle/model/config_fields.hpp"

namespace shardproof {

// Reads rope_theta with rope_scaling (published) or rope_parameters (transformers 5); given both ways they must agree.
// Defaults are those of transformers' modeling_rope_utils. Throws InputError for a rope type that is not known and for
// any word that its type does not have.
[[nodiscard]] RopeSpec parse_rope(ConfigFields& fields, std::int64_t head_dim, std::int64_t max_position_embeddings);

}  // namespace shardproof
