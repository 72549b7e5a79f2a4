// RuleSet: parameter role -> mesh and placements. A row in a table, named as users say it.
#pragma once
#include <memory>
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

// What each rank of the world holds, dim by dim: one entry a rank.
using RankShards = std::vector<std::vector<IndexRuns>>;

struct ParamPlacement {
    MeshKind mesh{};
    std::vector<Placement> placements;  // one an axis of that mesh; Replicate on an axis of size 1
    // Where another program's layout is no product over axes: what ranks hold, whatever `placements` (all Replicate)
    // say. shard_of() and the sums over ranks know it; nothing else computes indices from placements alone without
    // asking.
    std::shared_ptr<const RankShards> shards = nullptr;
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
