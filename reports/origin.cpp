#include "reports/origin.hpp"

#include <algorithm>
#include <cstring>
#include <set>
#include <string_view>

#include "oracle/model/byte_source.hpp"
#include "oracle/model/checkpoint_index.hpp"
#include "oracle/model/error.hpp"
#include "oracle/model/safetensors_form.hpp"
#include "reports/json_field.hpp"

namespace shardproof::reports {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr const char* kSingleFile = "model.safetensors";

std::string text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string header_of(const SafetensorsFile& file) {
    const std::span<const std::byte> bytes = file.source().bytes();
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    return text_of(bytes.subspan(sizeof length, length));
}

// Of tensors that no parameter reads: open_model() let them pass because they repeat the embeddings.
std::map<std::string, std::string> copies_in(const PlannedModel& model) {
    std::map<std::string, std::string> copies;
    if (!model.config.tie_embeddings) return copies;
    const std::string& embeddings = model.parameters.front().sources.front().tensor;
    const TensorView original = model.checkpoint->tensor(embeddings);
    std::set<std::string_view> read;
    for (const Parameter& parameter : model.parameters) {
        for (const Source& source : parameter.sources) read.insert(source.tensor);
    }
    for (const auto& [name, item] : model.checkpoint->items()) {
        if (read.contains(name) || item.entry->dtype != original.dtype) continue;
        const TensorView tensor = model.checkpoint->tensor(name);
        if (tensor.shape == original.shape && std::ranges::equal(tensor.bytes, original.bytes)) {
            copies.emplace(name, embeddings);
        }
    }
    return copies;
}

}  // namespace

Origin origin_of(const fs::path& folder, const PlannedModel& model, std::optional<std::int64_t> layers) {
    SP_ASSERT(model.checkpoint.has_value());
    Origin origin{.layers = layers, .index = {}, .files = {}, .copies = copies_in(model)};
    if (const fs::path index = folder / kIndexFile; fs::exists(index)) {
        origin.index = text_of(map_file(index, index.string())->bytes());
    }
    for (const SafetensorsFile& file : model.checkpoint->files()) {
        origin.files.push_back({file.source().name(), header_of(file)});
    }
    return origin;
}

void write_origin(const Origin& origin, JsonWriter& json) {
    const auto optional = [&](const char* key, const auto& value) {
        json.key(key);
        if (value) {
            json.value(*value);
        } else {
            json.null();
        }
    };
    json.begin_object().field("format", 1);
    optional("layers", origin.layers);
    optional("index", origin.index);
    json.key("files").begin_array();
    for (const OriginFile& file : origin.files) {
        json.begin_object().field("name", file.name).field("header", file.header).end_object();
    }
    json.end_array().key("copies").begin_object();
    for (const auto& [name, original] : origin.copies) json.field(name, original);
    json.end_object().end_object();
}

namespace {

// The index names the files, each by a name that stays in its folder; without one there is one file.
void check_names(const Origin& origin, const JsonField& files, const std::string& file) {
    std::set<std::string> expected{kSingleFile};
    if (origin.index) {
        expected.clear();
        for (const auto& [tensor, name] : read_index(*origin.index, file).weight_map) expected.insert(name);
    }
    for (const JsonField& field : files.items()) {
        if (expected.erase(field.at("name").text()) == 0) field.at("name").refuse("must be a file of the index, once");
    }
    if (!expected.empty()) files.refuse("must have " + *expected.begin());
}

}  // namespace

Origin read_origin(const fs::path& file) {
    const std::string name = file.string();
    const nlohmann::json document = read_json_file(file);
    const JsonField root(document, "", name);
    if (root.at("format").number() != 1) root.at("format").refuse("must be 1");
    Origin origin;
    if (const JsonField layers = root.at("layers"); !layers.is_null()) origin.layers = layers.number();
    if (const JsonField index = root.at("index"); !index.is_null()) origin.index = index.text();
    for (const JsonField& field : root.at("files").items()) {
        origin.files.push_back({field.at("name").text(), field.at("header").text()});
        (void)read_form(origin.files.back().header, name);
    }
    for (const auto& [copy, original] : root.at("copies").entries()) origin.copies.emplace(copy, original.text());
    check_names(origin, root.at("files"), name);
    return origin;
}

}  // namespace shardproof::reports
