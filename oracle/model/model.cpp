#include "oracle/model/model.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "oracle/model/error.hpp"

namespace shardproof {
namespace {

using Item = Checkpoint::Item;

bool same_shape(const std::vector<std::uint64_t>& found, const Shape& expected) {
    return std::equal(found.begin(), found.end(), expected.begin(), expected.end(),
                      [](std::uint64_t a, std::int64_t b) { return a == static_cast<std::uint64_t>(b); });
}

std::string shown(const std::vector<std::uint64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ",")); }

// A source is named as the index names it; a user needs the folder as well.
[[noreturn]] void refuse(const Model& model, const Item& item, std::string value, std::string rule) {
    const std::string& file = model.checkpoint.files()[item.file_idx].source().name();
    throw InputError({(std::filesystem::path{model.name} / file).string(), printable(item.entry->name),
                      std::move(value), std::move(rule)});
}

void check_source(const Model& model, const Source& source, const Parameter& parameter) {
    const auto found = model.checkpoint.items().find(source.tensor);
    if (found == model.checkpoint.items().end()) {
        throw InputError(
            {model.checkpoint.name(), source.tensor, "",
             fmt::format("tensor missing: {} needs it, of shape {}", parameter.name, to_string(source.tensor_shape))});
    }
    const Item& item = found->second;
    if (!same_shape(item.entry->shape, source.tensor_shape)) {
        refuse(model, item, shown(item.entry->shape),
               fmt::format("shape must be {} by config.json", to_string(source.tensor_shape)));
    }
    const DType dtype = item.entry->dtype;
    if (dtype != DType::BF16 && dtype != DType::F16 && dtype != DType::F32) {
        refuse(model, item, std::string(name_of(dtype)), "dtype must be BF16, F16 or F32");
    }
    // The embeddings are the first parameter, so they have been looked at by now.
    const DType of_model = dtype_of(model, model.parameters.front());
    if (dtype != of_model) {
        refuse(model, item, std::string(name_of(dtype)),
               fmt::format("dtype must be {}, that of {}: a model has one dtype", name_of(of_model),
                           model.parameters.front().sources.front().tensor));
    }
}

void check_parameter(const Model& model, const Parameter& parameter) {
    for (const Source& source : parameter.sources) check_source(model, source, parameter);
}

// A tied model may hold the head's tensor although it is the embedding matrix again.
void check_tied_head(const Model& model) {
    const std::string_view head_name = family_of(model.config).tied_head;
    const auto head = model.checkpoint.items().find(head_name);
    if (head == model.checkpoint.items().end()) return;
    const std::string& embeddings = model.parameters.front().sources.front().tensor;
    const TensorView want = model.checkpoint.tensor(embeddings);
    const TensorView found = model.checkpoint.tensor(head_name);
    const std::string rule = fmt::format("must equal {} byte for byte: tie_word_embeddings is true", embeddings);
    if (found.shape != want.shape) refuse(model, head->second, to_string(found.shape), rule);
    if (found.dtype != want.dtype) refuse(model, head->second, std::string(name_of(found.dtype)), rule);
    if (!std::equal(found.bytes.begin(), found.bytes.end(), want.bytes.begin(), want.bytes.end())) {
        refuse(model, head->second, "", rule);
    }
}

void check_nothing_else(const Model& model) {
    std::unordered_set<std::string_view> expected;
    for (const Parameter& parameter : model.parameters) {
        for (const Source& source : parameter.sources) expected.insert(source.tensor);
    }
    const ModelFamily& family = family_of(model.config);
    if (model.config.tie_embeddings) expected.insert(family.tied_head);
    for (const auto& [name, item] : model.checkpoint.items()) {
        if (expected.contains(name) || is_vision_tensor(family, name)) continue;
        refuse(model, item, shown(item.entry->shape),
               fmt::format("tensor unexpected: no parameter of {} by config.json", model.config.family));
    }
}

}  // namespace

Model open_model(const std::filesystem::path& directory) {
    ModelConfig config = read_config(directory / "config.json");
    return make_model(directory.string(), std::move(config), Checkpoint::open(directory));
}

Model make_model(std::string name, ModelConfig config, Checkpoint checkpoint) {
    std::vector<Parameter> parameters = family_of(config).parameters(config);
    Model model{std::move(name), std::move(config), std::move(checkpoint), std::move(parameters)};
    for (const Parameter& parameter : model.parameters) check_parameter(model, parameter);
    check_nothing_else(model);
    if (model.config.tie_embeddings) check_tied_head(model);
    return model;
}

std::string vision_note(const ModelConfig& config, const Checkpoint& checkpoint) {
    const ModelFamily& family = family_of(config);
    const auto count = std::count_if(checkpoint.items().begin(), checkpoint.items().end(),
                                     [&](const auto& item) { return is_vision_tensor(family, item.first); });
    if (count == 0) return {};
    return fmt::format("{} vision tensors left alone ({}*)", count, fmt::join(family.vision_prefixes, "*, "));
}

DType dtype_of(const Model& model, const Parameter& parameter) {
    const auto found = model.checkpoint.items().find(parameter.sources.front().tensor);
    SP_ASSERT(found != model.checkpoint.items().end());
    return found->second.entry->dtype;
}

}  // namespace shardproof
