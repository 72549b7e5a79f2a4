#include "oracle/model/config_fields.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "oracle/model/error.hpp"
#include "oracle/model/json_strict.hpp"

namespace shardproof {
namespace {

// The strict reader refuses what a tree would hide (a key twice, numbers beyond double); the tree is built after it.
class Discard final : public JsonHandler {
public:
    void on(const JsonEvent&, const JsonPath&) override {}
};

std::string shown(const nlohmann::json& value) {
    constexpr std::size_t kLengthMax = 100;
    std::string text = value.dump(-1, ' ', true);  // ASCII: may be cut anywhere
    if (text.size() > kLengthMax) text = text.substr(0, kLengthMax) + "...";
    return text;
}

}  // namespace

nlohmann::json parse_json_map(std::string_view text, const std::string& file) {
    Discard discard;
    read_json(text, file, discard);
    nlohmann::json document = nlohmann::json::parse(text);
    if (!document.is_object()) throw InputError({file, "", shown(document), "must be a map of fields"});
    return document;
}

ConfigFields::ConfigFields(const nlohmann::json& map, std::string file, std::string path)
    : map_(map), file_(std::move(file)), path_(std::move(path)) {
    SP_ASSERT(map_.is_object());
}

const nlohmann::json* ConfigFields::find(std::string_view key) {
    asked_.emplace(key);
    const auto found = map_.find(key);
    return found == map_.end() ? nullptr : &*found;
}

const nlohmann::json* ConfigFields::find_set(std::string_view key) {
    const nlohmann::json* value = find(key);
    return value == nullptr || value->is_null() ? nullptr : value;
}

std::string_view ConfigFields::spelling_of(std::string_view first, std::string_view second) {
    const nlohmann::json* a = find_set(first);
    const nlohmann::json* b = find_set(second);
    if (a != nullptr && b != nullptr && *a != *b) {
        refuse(second, fmt::format("must not contradict its other spelling, {}={}", first, shown(*a)));
    }
    return a == nullptr && b != nullptr ? second : first;
}

std::int64_t ConfigFields::integer(std::string_view key, IntegerRange range) {
    const std::string rule = fmt::format("must be a whole number from {} to {}", range.min, range.max);
    const nlohmann::json& value = required(key, rule);
    // Unsigned means: digits only. 2.0, -1, true and "2" are not.
    if (!value.is_number_unsigned()) refuse(key, rule);
    const auto number = value.get<std::uint64_t>();
    const bool fits =
        number >= static_cast<std::uint64_t>(range.min) && number <= static_cast<std::uint64_t>(range.max);
    if (!fits) refuse(key, rule);
    return static_cast<std::int64_t>(number);
}

double ConfigFields::number(std::string_view key, const std::string& rule, const std::function<bool(double)>& fits) {
    const nlohmann::json& value = required(key, rule);
    if (!value.is_number() || !fits(value.get<double>())) refuse(key, rule);
    return value.get<double>();
}

double ConfigFields::number_above(std::string_view key, double bound) {
    return number(key, fmt::format("must be a number above {}", bound),
                  [bound](double value) { return value > bound; });
}

double ConfigFields::number_at_least(std::string_view key, double bound) {
    return number(key, fmt::format("must be a number, at least {}", bound),
                  [bound](double value) { return value >= bound; });
}

bool ConfigFields::flag(std::string_view key) {
    const std::string rule = "must be true or false";
    const nlohmann::json& value = required(key, rule);
    if (!value.is_boolean()) refuse(key, rule);
    return value.get<bool>();
}

bool ConfigFields::flag_or(std::string_view key, bool otherwise) {
    return find(key) == nullptr ? otherwise : flag(key);
}

void ConfigFields::accept(std::initializer_list<std::string_view> keys) { asked_.insert(keys.begin(), keys.end()); }

void ConfigFields::accept_only(std::string_view key, std::initializer_list<std::string_view> values) {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return;
    const bool is_neutral = std::any_of(values.begin(), values.end(),
                                        [&](std::string_view text) { return nlohmann::json::parse(text) == *value; });
    if (!is_neutral) {
        refuse(key, fmt::format("is not supported: it changes the maths; only {} does not", fmt::join(values, ", ")));
    }
}

void ConfigFields::refuse_others(std::string_view rule) const {
    for (const auto& [key, value] : map_.items()) {
        if (!asked_.contains(key)) refuse(key, std::string(rule));
    }
}

std::string ConfigFields::path_of(std::string_view key) const {
    return path_.empty() ? shown_key(key) : path_ + "." + shown_key(key);
}

void ConfigFields::refuse(std::string_view key, std::string rule) const {
    const auto found = map_.find(key);
    throw InputError({file_, path_of(key), found == map_.end() ? "" : shown(*found), std::move(rule)});
}

const nlohmann::json& ConfigFields::required(std::string_view key, const std::string& rule) {
    const nlohmann::json* value = find(key);
    if (value == nullptr) refuse(key, "is missing: " + rule);
    return *value;
}

}  // namespace shardproof
