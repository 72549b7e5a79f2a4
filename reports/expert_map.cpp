// How experts are dealt, as typed: vLLM's word for it, and its map of slots.
#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "oracle/model/error.hpp"
#include "reports/options.hpp"
#include "reports/text.hpp"

namespace shardproof::reports {
namespace {

using nlohmann::json;

constexpr const char* kField = "physical_to_logical_map";

[[noreturn]] void refuse(const std::string& file, const std::string& field, const json& value,
                         const std::string& rule) {
    throw InputError({file, field, shortened(value.dump(-1, ' ', true, json::error_handler_t::replace)), rule});
}

std::vector<std::int64_t> slots_of(const json& list, const std::string& field, const std::string& file) {
    if (!list.is_array() || list.empty()) refuse(file, field, list, "must be a list of experts, one a slot");
    std::vector<std::int64_t> slots;
    for (std::size_t i = 0; i < list.size(); ++i) {
        const bool whole = list[i].is_number_unsigned() && list[i].get<std::uint64_t>() <= INT32_MAX;
        if (!whole) refuse(file, fmt::format("{}[{}]", field, i), list[i], "must be a whole number >= 0");
        slots.push_back(list[i].get<std::int64_t>());
    }
    return slots;
}

}  // namespace

ExpertOrder expert_order_named(const std::string& name) {
    if (name.empty() || name == "linear") return ExpertOrder::linear;
    if (name == "round_robin") return ExpertOrder::round_robin;
    throw InputError(
        {"command line", "--vllm-expert-placement-strategy", shortened(name), "must be linear or round_robin"});
}

std::vector<std::vector<std::int64_t>> read_expert_map(const std::filesystem::path& path) {
    const std::string file = path.string();
    std::ifstream stream(path);
    if (!stream || std::filesystem::is_directory(path))
        throw InputError({"command line", "--expert-map", shortened(file), "must be a file that can be read"});
    const json root = json::parse(stream, nullptr, false);
    if (root.is_discarded()) throw InputError({file, "", "", "must be JSON"});
    if (!root.is_object() || !root.contains(kField)) throw InputError({file, kField, "", "must be there"});
    const json& map = root[kField];
    if (!map.is_array() || map.empty()) refuse(file, kField, map, "must be a list");
    if (!map[0].is_array()) return {slots_of(map, kField, file)};
    std::vector<std::vector<std::int64_t>> lists;
    for (std::size_t i = 0; i < map.size(); ++i)
        lists.push_back(slots_of(map[i], fmt::format("{}[{}]", kField, i), file));
    return lists;
}

}  // namespace shardproof::reports
