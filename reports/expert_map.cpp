// How experts are dealt, as typed: vLLM's word for it, and its map of slots.
#include "oracle/model/error.hpp"
#include "reports/json_field.hpp"
#include "reports/options.hpp"
#include "reports/text.hpp"

namespace shardproof::reports {
namespace {

constexpr const char* kField = "physical_to_logical_map";

std::vector<std::int64_t> slots_of(const JsonField& list) {
    std::vector<std::int64_t> slots;
    for (const JsonField& slot : list.items()) {
        if (slot.number() > INT32_MAX) slot.refuse("must be a whole number >= 0");
        slots.push_back(slot.number());
    }
    if (slots.empty()) list.refuse("must be experts, one a slot");
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
    const nlohmann::json root = read_json_file(path);
    if (!root.is_object()) throw InputError({file, kField, "", "must be there"});
    const JsonField document(root, "", file);
    document.allow({kField});
    const JsonField map = document.at(kField);
    const std::vector<JsonField> items = map.items();
    if (items.empty()) map.refuse("must be experts, one a slot, or a list of such lists");
    if (!items.front().is_list()) return {slots_of(map)};
    std::vector<std::vector<std::int64_t>> lists;
    lists.reserve(items.size());
    for (const JsonField& list : items) lists.push_back(slots_of(list));
    return lists;
}

}  // namespace shardproof::reports
