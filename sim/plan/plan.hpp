// Plan: who holds what, decided once, before a byte moves. The static answer that sim and gpu execute.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "oracle/model/model.hpp"
#include "sim/plan/mesh.hpp"
#include "sim/plan/rules/rule_set.hpp"
#include "sim/plan/shard.hpp"

namespace shardproof {

struct ParamPlan {
    Parameter parameter;
    DType dtype{};
    ParamPlacement placement;
};

// What keeps a plan from holding the model: which elements, where, and why.
struct CoverageFault {
    std::string param;
    std::optional<Rank> rank = std::nullopt;   // that holds them, or says so
    std::vector<std::int64_t> index = {};      // of the first of them; empty: no single one
    std::string why;                           // follows "PARAM: ", and names all that is above
};

struct Plan {
    ParallelDims dims;
    std::string rules;
    Meshes meshes;
    ModelConfig config;
    std::vector<ParamPlan> params;  // in model order
    std::vector<std::string> warnings;
    std::vector<CoverageFault> contradictions = {};  // of a layout that another program decided

    [[nodiscard]] std::int64_t world() const { return dims.world(); }
    [[nodiscard]] const Mesh& mesh(MeshKind kind) const {
        return kind == MeshKind::dense ? meshes.dense : meshes.sparse;
    }
    [[nodiscard]] std::size_t param_idx(std::string_view name) const;  // SP_ASSERT found
};

// The only place where dims, config, family and rules meet. `dtypes` runs parallel to `parameters`. Throws InputError:
// degrees and options that the rule set does not take, a parameter that no rule covers, pp > 1 with parameters.
[[nodiscard]] Plan make_plan(const ModelConfig& config, std::vector<Parameter> parameters,
                             const std::vector<DType>& dtypes, const ParallelDims& dims, const RuleSet& rules,
                             const RuleOptions& options = {});
[[nodiscard]] Plan make_plan(const Model& model, const ParallelDims& dims, const RuleSet& rules,
                             const RuleOptions& options = {});

// What every make_plan() stands on: a stage of pp has only some of the parameters (throws InputError naming the first),
// and the dtypes of a model's parameters, in their order.
void require_placeable(const ParallelDims& dims, const std::vector<Parameter>& parameters);
[[nodiscard]] std::vector<DType> dtypes_of(const Model& model);

// One line where DTensor's description of a parameter contradicts its storage; names the first such rank.
void append_placement_warnings(const Plan& plan, const ParamPlan& param, std::vector<std::string>& warnings);

// What a rank holds of a parameter: one entry a dim.
[[nodiscard]] std::vector<IndexRuns> shard_of(const Plan& plan, std::size_t param_idx, Rank rank);
[[nodiscard]] std::int64_t shard_bytes(const Plan& plan, std::size_t param_idx, Rank rank);
[[nodiscard]] std::vector<std::int64_t> bytes_per_rank(const Plan& plan);

// Coverage, proved for every parameter: each element is held, and as often as its replicas say; no other count. Returns
// one line a violation, empty when the plan covers.
[[nodiscard]] std::vector<CoverageFault> coverage_faults(const Plan& plan);
[[nodiscard]] std::vector<std::string> coverage_violations(const Plan& plan);  // "PARAM: WHY"

// A stable hash of everything above (FNV or xxHash over the printed plan).
[[nodiscard]] std::uint64_t hash_of(const Plan& plan);

}  // namespace shardproof
