#include "reports/json_field.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "oracle/model/byte_source.hpp"
#include "oracle/model/error.hpp"
#include "oracle/model/json_strict.hpp"

namespace shardproof::reports {
namespace {

using nlohmann::json;

class Discard final : public JsonHandler {
public:
    void on(const JsonEvent&, const JsonPath&) override {}
};

}  // namespace

bool JsonField::has(const std::string& key) const {
    if (!value_->is_object()) refuse("must be an object");
    return value_->contains(key);
}

JsonField JsonField::at(const std::string& key) const {
    // A key of a file may be a megabyte long, or hold a dot.
    const std::string path = path_.empty() ? shown_key(key) : path_ + "." + shown_key(key);
    if (!has(key)) throw InputError({*file_, path, "", "must be there"});
    return {*value_->find(key), path, *file_};
}

std::vector<JsonField> JsonField::items() const {
    if (!value_->is_array()) refuse("must be a list");
    std::vector<JsonField> fields;
    fields.reserve(value_->size());
    for (std::size_t i = 0; i < value_->size(); ++i)
        fields.emplace_back((*value_)[i], fmt::format("{}[{}]", path_, i), *file_);
    return fields;
}

std::vector<std::pair<std::string, JsonField>> JsonField::entries() const {
    if (!value_->is_object()) refuse("must be an object");
    std::vector<std::pair<std::string, JsonField>> fields;
    for (const auto& [key, value] : value_->items()) fields.emplace_back(key, at(key));
    return fields;
}

std::string JsonField::text() const {
    if (!value_->is_string()) refuse("must be a string");
    return value_->get<std::string>();
}

std::int64_t JsonField::number() const {
    const bool whole = value_->is_number_unsigned();
    if (!whole || value_->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
        refuse("must be a whole number >= 0");
    }
    return value_->get<std::int64_t>();
}

double JsonField::positive() const {
    if (!value_->is_number() || !(value_->get<double>() >= 0) || std::isinf(value_->get<double>()))
        refuse("must be a number >= 0");
    return value_->get<double>();
}

IndexRuns JsonField::runs() const {
    IndexRuns runs;
    for (const JsonField& run : items()) {
        const std::vector<JsonField> ends = run.items();
        if (ends.size() != 2) run.refuse("must be [start, stop)");
        runs.push_back({ends[0].number(), ends[1].number()});
    }
    return runs;
}

void JsonField::allow(std::initializer_list<std::string_view> keys) const {
    for (const auto& [key, field] : entries()) {
        if (std::ranges::find(keys, std::string_view{key}) == keys.end())
            throw InputError({*file_, field.path(), "", "is no field of this form"});
    }
}

void JsonField::refuse(const std::string& rule) const {
    constexpr std::size_t kLengthMax = 60;
    std::string value = value_->dump(-1, ' ', true, json::error_handler_t::replace);  // ASCII: may be cut anywhere
    if (value.size() > kLengthMax) value = value.substr(0, kLengthMax) + "...";
    throw InputError({*file_, path_, std::move(value), rule});
}

json parse_json(std::string_view text, const std::string& file) {
    Discard discard;
    read_json(text, file, discard);
    return json::parse(text);
}

json read_json_file(const std::filesystem::path& file) {
    const std::string name = file.string();
    const std::shared_ptr<const ByteSource> source = map_file(file, name);
    return parse_json({reinterpret_cast<const char*>(source->bytes().data()), source->bytes().size()}, name);
}

}  // namespace shardproof::reports
