#include <string>
#include <utility>

#include "oracle/model/error.hpp"
#include "reports/json_field.hpp"
#include "reports/manifest.hpp"

namespace shardproof::reports {
namespace {

ManifestParam param_of(const JsonField& field) {
    ManifestParam param{
        .name = field.at("name").text(), .dtype = field.at("dtype").text(), .shape = {}, .index = {}, .xxh64 = {}};
    for (const JsonField& extent : field.at("shape").items()) param.shape.push_back(extent.number());
    for (const JsonField& runs : field.at("index").items()) param.index.push_back(runs.runs());
    if (const JsonField hash = field.at("xxh64"); !hash.is_null()) {
        param.xxh64 = hash.text();
        const bool is_hex = param.xxh64->find_first_not_of("0123456789abcdef") == std::string::npos;
        if (param.xxh64->size() != 16 || !is_hex) hash.refuse("must be 16 hex digits or null");
    }
    return param;
}

Manifest manifest_of(const JsonField& root) {
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
    for (const JsonField& field : root.at("ranks").items()) {
        ManifestRank rank{.rank = field.at("rank").number(), .file = field.at("file").text(), .params = {}};
        // A rank that is lacking is a difference, for the comparison to name.
        if (rank.rank < 0 || (!manifest.ranks.empty() && rank.rank <= manifest.ranks.back().rank))
            field.at("rank").refuse("ranks must be in order");
        for (const JsonField& param : field.at("params").items()) rank.params.push_back(param_of(param));
        manifest.ranks.push_back(std::move(rank));
    }
    return manifest;
}

}  // namespace

Manifest parse_manifest(std::string_view json_text, const std::string& file) {
    const nlohmann::json document = parse_json(json_text, file);
    return manifest_of(JsonField(document, "", file));
}

Manifest read_manifest(const std::filesystem::path& file) {
    const std::string name = file.string();
    const nlohmann::json document = read_json_file(file);
    return manifest_of(JsonField(document, "", name));
}

}  // namespace shardproof::reports
