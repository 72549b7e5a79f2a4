// A value of a JSON document and where it stands, so that a refusal can say it. For .cpp files of this folder alone: it
// shows the parser's type.
#pragma once
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "oracle/model/box.hpp"

namespace shardproof::reports {

class JsonField {
public:
    // All three outlive it.
    JsonField(const nlohmann::json& value, std::string path, const std::string& file)
        : value_{&value}, path_{std::move(path)}, file_{&file} {}

    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] bool is_null() const { return value_->is_null(); }
    [[nodiscard]] bool is_list() const { return value_->is_array(); }
    [[nodiscard]] bool has(const std::string& key) const;  // refuses what is no object
    [[nodiscard]] JsonField at(const std::string& key) const;  // refuses what is not there
    [[nodiscard]] std::vector<JsonField> items() const;  // of a list
    [[nodiscard]] std::vector<std::pair<std::string, JsonField>> entries() const;  // of an object, by key
    [[nodiscard]] std::string text() const;
    // A count or an index: whole, not negative, within 63 bits.
    [[nodiscard]] std::int64_t number() const;
    [[nodiscard]] double positive() const;  // a finite number >= 0
    // [[0,4],[8,12]]: runs [start, stop), two numbers each.
    [[nodiscard]] IndexRuns runs() const;
    // Refuses keys beyond these.
    void allow(std::initializer_list<std::string_view> keys) const;
    [[noreturn]] void refuse(const std::string& rule) const;

private:
    const nlohmann::json* value_;
    std::string path_;
    const std::string* file_;
};

// The whole text, parsed. Throws InputError naming `file`: no JSON, a key twice in one object.
[[nodiscard]] nlohmann::json parse_json(std::string_view text, const std::string& file);
// The same of a file, which must be there.
[[nodiscard]] nlohmann::json read_json_file(const std::filesystem::path& file);

}  // namespace shardproof::reports
