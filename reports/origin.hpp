// checkpoint.json, beside a manifest: how the published files were that the shards came from, so that merge can write
// them again byte for byte.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "reports/json.hpp"
#include "reports/planned_model.hpp"

namespace shardproof::reports {

inline constexpr const char* kOriginFile = "checkpoint.json";

struct OriginFile {
    std::string name;    // as the index says it
    std::string header;  // the JSON between length and data, padding included
};

struct Origin {
    std::optional<std::int64_t> layers;  // only the first ones were loaded
    std::optional<std::string> index;    // the text of model.safetensors.index.json; none: one file
    std::vector<OriginFile> files;
    // A tied head that is present anyway: the tensor whose bytes it repeats.
    std::map<std::string, std::string> copies;
};

// `model` was opened in `folder`, with its tensors.
[[nodiscard]] Origin origin_of(const std::filesystem::path& folder, const PlannedModel& model,
                               std::optional<std::int64_t> layers);
void write_origin(const Origin& origin, JsonWriter& json);
// Throws InputError naming the field: form, headers and index are checked as those of files are.
[[nodiscard]] Origin read_origin(const std::filesystem::path& file);

}  // namespace shardproof::reports
