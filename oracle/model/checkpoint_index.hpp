// model.safetensors.index.json: which file holds which tensor. A convention of Hugging Face's tools, read strictly.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shardproof {

struct CheckpointIndex {
    std::vector<std::pair<std::string, std::string>> weight_map;  // tensor name, file name; in the order of the text
    std::optional<std::uint64_t> total_size;
    std::string total_size_shown;  // what stands there where it is no unsigned integer; empty: absent
};

// Throws InputError: no JSON map, weight_map absent, empty, no map of strings, a key twice, or a file name that is not
// plain and relative (empty, absolute, with an empty, "." or ".." part, or with NUL).
[[nodiscard]] CheckpointIndex read_index(std::string_view json_text, const std::string& file);

}  // namespace shardproof
