// RuleSet: parameter role -> mesh and placements. A row in a table, named as users say it.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "oracle/model/family.hpp"
#include "sim/plan/mesh.hpp"
#include "sim/plan/placement.hpp"

namespace shardproof {

enum class MeshKind : std::uint8_t { dense, sparse };
[[nodiscard]] std::string_view name_of(MeshKind kind);

// What the code that a rule set follows tells FSDP and DTensor, kept where that is not one placement an axis:
// declaration.hpp judges it against the plan.
struct Declaration {
    std::vector<Axis> fsdp_mesh;  // given to FSDP: it replicates over the first axis, shards the second
    std::optional<std::int64_t> asserted_ranks;  // what the code compares that mesh's number of ranks with
    std::vector<Axis> axes;  // of the parameter's DTensor, outermost first
    std::vector<Placement> placements;  // of the same, one an axis where it is right
    std::vector<std::pair<Axis, Placement>> loaded_as;  // what loading takes it for, on the data axes
};

// What each rank of the world holds, dim by dim: one entry a rank.
using RankShards = std::vector<std::vector<IndexRuns>>;

struct ParamPlacement {
    MeshKind mesh{};
    std::vector<Placement> placements;  // one an axis of that mesh; Replicate on an axis of size 1
    // Where another program's layout is no product over axes: what ranks hold, whatever `placements` (all Replicate)
    // say. shard_of() and the sums over ranks know it; nothing else computes indices from placements alone without
    // asking.
    std::shared_ptr<const RankShards> shards = nullptr;
    std::optional<Declaration> declared = std::nullopt;
};

// How experts are dealt to ep ranks, where a rule set leaves that open.
enum class ExpertOrder : std::uint8_t { linear, round_robin };
struct RuleOptions {
    ExpertOrder expert_order = ExpertOrder::linear;
    // Slot -> expert: ep rank r holds the r-th of ep equal parts of the slots. One list for all MoE layers, or one for
    // each; empty: no map. An expert may have several slots.
    std::vector<std::vector<std::int64_t>> expert_map = {};
    std::string expert_map_file = {};  // for refusals
    [[nodiscard]] bool are_default() const { return expert_order == ExpertOrder::linear && expert_map.empty(); }
};

struct RuleSet {
    std::string_view name;
    std::string_view summary;  // one line for --help and messages
    // Throws InputError when this rule set does not take these degrees or options, or does not take them for this
    // model.
    void (*check)(const ParallelDims& dims, const ModelConfig& config, const RuleOptions& options);
    // nullopt: no rule covers the parameter, which is an error of the caller's making, never a default.
    std::optional<ParamPlacement> (*place)(const Parameter& parameter, const ModelConfig& config,
                                           const ParallelDims& dims, const RuleOptions& options);
    Meshes (*meshes)(const ParallelDims& dims) = make_meshes;
    bool takes_etp = false;  // a tensor-parallel degree of experts alone; by default that of the rest
    bool takes_options = false;  // RuleOptions other than the default
};

[[nodiscard]] std::span<const RuleSet> rule_sets();
[[nodiscard]] const RuleSet& rule_set_named(std::string_view name);  // throws InputError listing the names
// Everything that is refused of degrees and options for a model. Throws InputError.
void check_rules(const RuleSet& rules, const ParallelDims& dims, const ModelConfig& config, const RuleOptions& options);

}  // namespace shardproof
