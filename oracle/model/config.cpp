#include "oracle/model/config.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "oracle/model/byte_source.hpp"
#include "oracle/model/config_fields.hpp"
#include "oracle/model/error.hpp"
#include "oracle/model/family.hpp"

namespace shardproof {

Heads ModelConfig::heads() const {
    return std::visit([](const auto& spec) { return heads_of(spec); }, attention);
}

const RopeSpec& ModelConfig::rope() const {
    return std::visit([](const auto& spec) -> const RopeSpec& { return spec.rope; }, attention);
}

ModelConfig parse_config(std::string_view json_text, const std::string& file) {
    const nlohmann::json document = parse_json_map(json_text, file);
    std::string known;
    for (const ModelFamily& family : families()) known += (known.empty() ? "" : ", ") + std::string(family.model_type);
    ConfigFields fields(document, file);
    const std::string rule = "must name a known family: " + known;
    const nlohmann::json* model_type = fields.find("model_type");
    if (model_type == nullptr) fields.refuse("model_type", "is missing: " + rule);
    if (!model_type->is_string()) fields.refuse("model_type", rule);
    const ModelFamily* family = family_named(model_type->get_ref<const std::string&>());
    if (family == nullptr) fields.refuse("model_type", rule);
    return family->parse(json_text, file);
}

ModelConfig read_config(const std::filesystem::path& file) {
    const auto source = map_file(file, file.string());
    const auto bytes = source->bytes();
    return parse_config({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, file.string());
}

namespace {

void cut_layers(GroupedQueryAttention& /*spec*/, std::size_t /*num_layers*/) {}  // the same in every layer
void cut_layers(Llama4Attention& spec, std::size_t num_layers) {
    spec.rope_layers.resize(num_layers);
    spec.chunked_layers.resize(num_layers);
}

}  // namespace

ModelConfig first_layers(ModelConfig config, std::int64_t num_layers) {
    if (num_layers < 1 || num_layers > config.num_layers) {
        throw InputError({"command line", "--layers", std::to_string(num_layers),
                          fmt::format("must be a whole number from 1 to {}, the model's layers", config.num_layers)});
    }
    config.num_layers = num_layers;
    config.mlp.resize(static_cast<std::size_t>(num_layers));
    std::visit([&](auto& spec) { cut_layers(spec, config.mlp.size()); }, config.attention);
    return config;
}

}  // namespace shardproof
