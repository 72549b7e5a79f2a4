#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "oracle/model/byte_source.hpp"
#include "oracle/model/error.hpp"
#include "reports/manifest.hpp"

namespace shardproof::reports {
namespace {

using nlohmann::json;

// A value of the document and where it stands, so that a refusal can say it.
class Field {
public:
    Field(const json& value, std::string path, const std::string& file)
        : value_{&value}, path_{std::move(path)}, file_{&file} {}

    [[nodiscard]] Field at(const std::string& key) const {
        if (!value_->is_object()) refuse("must be an object");
        const auto found = value_->find(key);
        const std::string path = path_.empty() ? key : path_ + "." + key;
        if (found == value_->end()) throw InputError({*file_, path, "", "must be there"});
        return {*found, path, *file_};
    }
    [[nodiscard]] bool has(const std::string& key) const { return value_->is_object() && value_->contains(key); }
    [[nodiscard]] std::vector<Field> items() const {
        if (!value_->is_array()) refuse("must be a list");
        std::vector<Field> fields;
        fields.reserve(value_->size());
        for (std::size_t i = 0; i < value_->size(); ++i)
            fields.emplace_back((*value_)[i], fmt::format("{}[{}]", path_, i), *file_);
        return fields;
    }
    [[nodiscard]] std::string text() const {
        if (!value_->is_string()) refuse("must be a string");
        return value_->get<std::string>();
    }
    // A count or an index: whole, not negative, within 63 bits.
    [[nodiscard]] std::int64_t number() const {
        const bool whole = value_->is_number_unsigned();
        if (!whole || value_->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
            refuse("must be a whole number >= 0");
        }
        return value_->get<std::int64_t>();
    }
    [[nodiscard]] bool is_null() const { return value_->is_null(); }
    [[noreturn]] void refuse(const std::string& rule) const {
        constexpr std::size_t kLengthMax = 60;
        std::string value = value_->dump(-1, ' ', true, json::error_handler_t::replace);  // ASCII: may be cut anywhere
        if (value.size() > kLengthMax) value = value.substr(0, kLengthMax) + "...";
        throw InputError({*file_, path_, std::move(value), rule});
    }

private:
    const json* value_;
    std::string path_;
    const std::string* file_;
};

IndexRuns runs_of(const Field& field) {
    IndexRuns runs;
    for (const Field& run : field.items()) {
        const std::vector<Field> ends = run.items();
        if (ends.size() != 2) run.refuse("must be [start, stop)");
        runs.push_back({ends[0].number(), ends[1].number()});
    }
    return runs;
}

ManifestParam param_of(const Field& field) {
    ManifestParam param{
        .name = field.at("name").text(), .dtype = field.at("dtype").text(), .shape = {}, .index = {}, .xxh64 = {}};
    for (const Field& extent : field.at("shape").items()) param.shape.push_back(extent.number());
    for (const Field& runs : field.at("index").items()) param.index.push_back(runs_of(runs));
    if (const Field hash = field.at("xxh64"); !hash.is_null()) {
        param.xxh64 = hash.text();
        const bool is_hex = param.xxh64->find_first_not_of("0123456789abcdef") == std::string::npos;
        if (param.xxh64->size() != 16 || !is_hex) hash.refuse("must be 16 hex digits or null");
    }
    return param;
}

Manifest manifest_of(const Field& root) {
    if (root.at("format").number() != 1) root.at("format").refuse("must be 1");
    Manifest manifest;
    manifest.head = {.world = root.at("world").number(),
                     .rules = root.at("rules").text(),
                     .dims = {},
                     .family = root.at("family").text()};
    for (const char* name : {"pp", "dp_replicate", "dp_shard", "cp", "tp", "ep"}) {
        manifest.head.dims.emplace_back(name, root.at("dims").at(name).number());
    }
    if (root.at("dims").has("etp")) manifest.head.dims.emplace_back("etp", root.at("dims").at("etp").number());
    for (const Field& field : root.at("ranks").items()) {
        ManifestRank rank{.rank = field.at("rank").number(), .file = field.at("file").text(), .params = {}};
        // A rank that is lacking is a difference, for the comparison to name.
        if (rank.rank < 0 || (!manifest.ranks.empty() && rank.rank <= manifest.ranks.back().rank))
            field.at("rank").refuse("ranks must be in order");
        for (const Field& param : field.at("params").items()) rank.params.push_back(param_of(param));
        manifest.ranks.push_back(std::move(rank));
    }
    return manifest;
}

}  // namespace

Manifest read_manifest(const std::filesystem::path& file) {
    const std::string name = file.string();
    const std::shared_ptr<const ByteSource> source = map_file(file, name);
    const std::string_view text(reinterpret_cast<const char*>(source->bytes().data()), source->bytes().size());
    json document;
    try {
        document = json::parse(text);
    } catch (const json::exception& error) {
        throw InputError({name, "", "", fmt::format("must be JSON: {}", error.what())});
    }
    return manifest_of(Field(document, "", name));
}

}  // namespace shardproof::reports
