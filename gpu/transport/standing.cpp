#include "gpu/transport/standing.hpp"

#include <nlohmann/json.hpp>

#include "oracle/model/error.hpp"

namespace shardproof::gpu {

std::vector<std::byte> pack(const Standing& standing) {
    nlohmann::json group = nlohmann::json::array();
    for (const Rank rank : standing.group) group.push_back(rank.value());
    const std::string text = nlohmann::json{
        {"rank", standing.rank.value()},
        {"call", standing.call},
        {"group", group},
        {"number",
         standing.number}}.dump();
    const auto bytes = std::as_bytes(std::span{text});
    return {bytes.begin(), bytes.end()};
}

Standing unpack_standing(std::span<const std::byte> bytes) {
    const std::string text{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
    SP_ASSERT(json.is_object() && json.size() == 4);
    Standing standing{.rank = Rank{json.at("rank").get<std::int64_t>()},
                      .call = json.at("call"),
                      .group = {},
                      .number = json.at("number")};
    for (const nlohmann::json& rank : json.at("group")) standing.group.emplace_back(rank.get<std::int64_t>());
    return standing;
}

}  // namespace shardproof::gpu
