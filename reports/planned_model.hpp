// A MODEL as `plan` and `load` see it: config and parameters always, tensors where there are any.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "oracle/model/model.hpp"
#include "reports/options.hpp"
#include "sim/plan/plan.hpp"
#include "sim/plan/rules/rule_set.hpp"

namespace shardproof::reports {

enum class Tensors : std::uint8_t { needed, optional };

struct PlannedModel {
    std::string name;                 // as typed
    ModelConfig config;               // cut to --layers
    std::vector<Parameter> parameters;
    std::vector<DType> dtypes;        // one a parameter: the tensors', else the config's word
    std::optional<Checkpoint> checkpoint;
};

// Throws InputError: whatever read_config and open_model refuse; a config without dtype where there are no tensors.
[[nodiscard]] PlannedModel open_planned_model(const std::filesystem::path& directory, Tensors tensors,
                                              std::optional<std::int64_t> layers);

// By rules, or as the layout was given.
[[nodiscard]] Plan plan_of(const PlannedModel& model, const Layout& layout);

}  // namespace shardproof::reports
