// ConfigFields: a JSON map read field by field. It remembers which fields were asked for, so that the rest can be
// refused by name. Private to the parsers of config.json.
#pragma once
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace shardproof {

// The largest size that a config may name: products of two still fit std::int64_t.
inline constexpr std::int64_t kSizeMax = 2147483647;

struct IntegerRange {
    std::int64_t min = 1;
    std::int64_t max = kSizeMax;
};

// The document as a tree. Throws InputError for text that is no JSON, a key twice in one map, or no map at all.
[[nodiscard]] nlohmann::json parse_json_map(std::string_view text, const std::string& file);

class ConfigFields {
public:
    // Borrows `map`. `path` leads to it from the document's root: "" or "rope_scaling".
    ConfigFields(const nlohmann::json& map, std::string file, std::string path = "");

    [[nodiscard]] const std::string& file() const { return file_; }
    // The path of one of its fields from the document's root.
    [[nodiscard]] std::string path_of(std::string_view key) const;
    // Each of the following counts as having read `key`. Absent: nullptr or nullopt.
    [[nodiscard]] const nlohmann::json* find(std::string_view key);
    // As find, but null counts as absent.
    [[nodiscard]] const nlohmann::json* find_set(std::string_view key);
    // The one of two spellings that is set. Both set to different values is refused; neither: `first`.
    [[nodiscard]] std::string_view spelling_of(std::string_view first, std::string_view second);

    // Throw InputError when absent, of another type or out of range. Numbers are finite by the reader's rules.
    [[nodiscard]] std::int64_t integer(std::string_view key, IntegerRange range = {});
    [[nodiscard]] double number_above(std::string_view key, double bound);
    [[nodiscard]] double number_at_least(std::string_view key, double bound);
    [[nodiscard]] bool flag(std::string_view key);
    // Absent: `otherwise`.
    [[nodiscard]] bool flag_or(std::string_view key, bool otherwise);

    void accept(std::initializer_list<std::string_view> keys);
    // Absent, or one of `values` (JSON text); else the field is refused with `rule`.
    void accept_only(std::string_view key, std::initializer_list<std::string_view> values);
    // The first field that nobody asked for.
    void refuse_others(std::string_view rule) const;
    [[noreturn]] void refuse(std::string_view key, std::string rule) const;

private:
    [[nodiscard]] const nlohmann::json& required(std::string_view key, const std::string& rule);
    [[nodiscard]] double number(std::string_view key, const std::string& rule, const std::function<bool(double)>& fits);

    const nlohmann::json& map_;
    std::string file_;
    std::string path_;
    std::set<std::string, std::less<>> asked_;
};

// Fields that every config of transformers 4 and 5 may hold and that do not change a forward; those that would change
// it with some values only with the neutral ones.
void accept_generic_fields(ConfigFields& fields);

}  // namespace shardproof
