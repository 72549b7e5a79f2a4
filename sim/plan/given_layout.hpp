// GivenLayout: a layout that another program decided, as it says it: placements on the axes of a mesh, or what each
// rank holds. A value; make_plan() makes a Plan of it.
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/plan/plan.hpp"

namespace shardproof {

struct GivenShard {
    Rank rank;
    std::vector<IndexRuns> index;  // one entry a dim
};

struct GivenParam {
    std::string name;
    std::string path;                                      // of its entry, for refusals: "params[3]"
    std::optional<Shape> shape;                            // as the other program has it
    std::optional<std::string> dtype;
    std::optional<MeshKind> mesh;
    std::vector<std::pair<Axis, Placement>> placements;    // axes left out replicate; an owner list has no runs here
    std::optional<std::vector<std::string>> checkpoint = std::nullopt;  // tensors that it comes from
    std::optional<Declaration> declared = std::nullopt;
    std::optional<std::vector<GivenShard>> shards;  // ranks left out: by the placements, else they hold nothing
};

struct GivenMesh {
    std::string path;  // "meshes.dense"
    MeshKind kind{};
    std::vector<std::pair<Axis, std::int64_t>> axes;  // outermost first
};

struct GivenGroups {
    std::string path;  // "groups.ep"
    std::string name;
    std::vector<std::vector<Rank>> groups;
};

struct GivenLayout {
    std::string file;  // for refusals
    std::string rules = "placements";  // whose layout it is, as it says
    std::vector<GivenMesh> meshes;  // may be empty
    std::vector<GivenGroups> groups = {};  // as it counts them; may be empty
    std::vector<GivenParam> params;  // names are distinct
    bool cut_model = false;  // parameters of layers that the model has not are left alone: it is cut to its first ones
};

// A Plan of `given`. A placement on an axis of size 1 is taken as R. Index runs that are a product of placements on the
// axes are held as these; others as they are. A parameter that `given` lacks is held by nobody. Where index and
// placements of a parameter differ, the index is what is held, and the difference is among Plan::contradictions. Throws
// InputError with the path of what cannot be: no parameter of the model, another shape or dtype, an axis that the mesh
// has not, a dim that the parameter has not, a run outside it, an owner list without shards of every coordinate, a
// split factor that is not the product of the later axes on that dim, groups or checkpoint tensors that are not ours.
[[nodiscard]] Plan make_plan(const ModelConfig& config, std::vector<Parameter> parameters,
                             const std::vector<DType>& dtypes, const ParallelDims& dims, const GivenLayout& given);

// Placements on `mesh` by which every rank holds what `shards` says; nullopt where there are none.
[[nodiscard]] std::optional<std::vector<Placement>> product_form(const Mesh& mesh, const Shape& shape,
                                                                 const RankShards& shards);

}  // namespace shardproof
