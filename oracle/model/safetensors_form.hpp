// The form of a safetensors header: which JSON it is. What it says of sizes and offsets is checked by
// parse_safetensors.
#pragma once
#include <string>
#include <string_view>

#include "oracle/model/safetensors.hpp"

namespace shardproof {

inline constexpr std::string_view kMetadataKey = "__metadata__";

// Entries in the order of the text, `begin` and `end` as written: relative to the data section, unchecked.
// Throws InputError. Two artefacts of the reference parser are refused: an entry as the list [dtype, shape,
// data_offsets], and a dtype as the map {"F32": null}. No known writer makes either.
[[nodiscard]] SafetensorsHeader read_form(std::string_view json_text, const std::string& file);

}  // namespace shardproof
