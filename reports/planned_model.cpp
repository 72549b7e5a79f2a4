#include "reports/planned_model.hpp"

#include <algorithm>
#include <utility>

#include "oracle/model/error.hpp"
#include "reports/options.hpp"

namespace shardproof::reports {
namespace {

namespace fs = std::filesystem;

// A link that leads nowhere is there too, and so are shards without an index: open_model then says what is wrong.
bool has_tensors(const fs::path& directory) {
    std::error_code error;
    for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
        const std::string name = entry->path().filename().string();
        if (name == "model.safetensors.index.json") return true;
        if (name.starts_with("model") && name.ends_with(".safetensors")) return true;
    }
    return false;
}

DType dtype_of_config(const ModelConfig& config, const fs::path& directory) {
    if (!config.dtype) {
        throw InputError(
            {(directory / "config.json").string(), "torch_dtype", "", "must be given where there are no tensors"});
    }
    return *config.dtype;
}

}  // namespace

PlannedModel open_planned_model(const fs::path& directory, Tensors tensors, std::optional<std::int64_t> layers) {
    require_directory(directory);
    PlannedModel planned{.name = directory.string(), .config = {}, .parameters = {}, .dtypes = {}, .checkpoint = {}};
    if (tensors == Tensors::needed || has_tensors(directory)) {
        Model model = open_model(directory);
        planned.config = layers ? first_layers(model.config, *layers) : model.config;
        planned.parameters = layers ? family_of(planned.config).parameters(planned.config) : model.parameters;
        std::ranges::transform(planned.parameters, std::back_inserter(planned.dtypes),
                               [&](const Parameter& parameter) { return dtype_of(model, parameter); });
        planned.checkpoint = std::move(model.checkpoint);
        return planned;
    }
    const ModelConfig config = read_config(directory / "config.json");
    planned.config = layers ? first_layers(config, *layers) : config;
    planned.parameters = family_of(planned.config).parameters(planned.config);
    planned.dtypes.assign(planned.parameters.size(), dtype_of_config(config, directory));
    return planned;
}

Plan plan_of(const PlannedModel& model, const Layout& layout) {
    if (layout.given) return make_plan(model.config, model.parameters, model.dtypes, layout.dims, *layout.given);
    return make_plan(model.config, model.parameters, model.dtypes, layout.dims, *layout.rules, layout.options);
}

}  // namespace shardproof::reports
