// --placements FILE: a layout that another program decided, in the form that `plan --json` prints.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "sim/plan/given_layout.hpp"
#include "sim/plan/parallel_dims.hpp"

namespace shardproof::reports {

struct PlacementsFile {
    GivenLayout layout;
    std::optional<RawDims> dims;         // where the file says them; sequence parallelism is never in it
    std::optional<std::int64_t> world;
};

// Throws InputError with `file` and the path of the field: "params[3].placements.tp".
[[nodiscard]] PlacementsFile parse_placements(std::string_view json_text, const std::string& file);
[[nodiscard]] PlacementsFile read_placements(const std::filesystem::path& file);

}  // namespace shardproof::reports
