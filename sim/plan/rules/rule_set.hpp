// RuleSet: parameter role -> mesh and placements. A row in a table, named as users say it.
#pragma once
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "oracle/model/family.hpp"
#include "sim/plan/mesh.hpp"
#include "sim/plan/placement.hpp"

namespace shardproof {

enum class MeshKind : std::uint8_t { dense, sparse };
[[nodiscard]] std::string_view name_of(MeshKind kind);

struct ParamPlacement {
    MeshKind mesh{};
    std::vector<Placement> placements;  // one an axis of that mesh; Replicate on an axis of size 1
};

struct RuleSet {
    std::string_view name;
    std::string_view summary;  // one line for --help and messages
    // Throws InputError when this rule set does not take these degrees, or does not take them for this model.
    void (*check)(const ParallelDims& dims, const ModelConfig& config);
    // nullopt: no rule covers the parameter, which is an error of the caller's making, never a default.
    std::optional<ParamPlacement> (*place)(const Parameter& parameter, const ModelConfig& config,
                                           const ParallelDims& dims);
};

[[nodiscard]] std::span<const RuleSet> rule_sets();
[[nodiscard]] const RuleSet& rule_set_named(std::string_view name);  // throws InputError listing the names

}  // namespace shardproof
