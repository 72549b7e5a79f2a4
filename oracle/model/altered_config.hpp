// A published config with fields changed, for tests.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "oracle/model/config.hpp"
#include "oracle/model/published_configs.hpp"

namespace shardproof {

// Qwen3-30B-A3B's config.json with `changes` set (null is JSON's null) and the fields `removed` taken away.
[[nodiscard]] inline std::string altered_config(const nlohmann::json& changes,
                                                const std::vector<std::string>& removed = {}) {
    nlohmann::json document = nlohmann::json::parse(kQwen3_30B_A3B);
    for (const auto& [key, value] : changes.items()) document[key] = value;
    for (const std::string& key : removed) document.erase(key);
    return document.dump();
}

[[nodiscard]] inline ModelConfig parse_altered(const nlohmann::json& changes,
                                               const std::vector<std::string>& removed = {}) {
    return parse_config(altered_config(changes, removed), "m/config.json");
}

}  // namespace shardproof
