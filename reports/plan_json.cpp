#include "reports/plan_json.hpp"

#include <string>

namespace shardproof::reports {
namespace {

void write_mesh(const Mesh& mesh, JsonWriter& json) {
    json.begin_object().key("axes").begin_array();
    for (const MeshAxis& axis : mesh.axes()) json.value(name_of(axis.axis));
    json.end_array().key("sizes").begin_array();
    for (const MeshAxis& axis : mesh.axes()) json.value(axis.size);
    json.end_array().end_object();
}

void write_groups(const Meshes& meshes, JsonWriter& json) {
    json.begin_object();
    for (const NamedGroups& named : named_groups(meshes)) {
        json.key(named.name).begin_array();
        for (const std::vector<Rank>& group : named.groups) {
            json.begin_array();
            for (const Rank rank : group) json.value(rank.value());
            json.end_array();
        }
        json.end_array();
    }
    json.end_object();
}

void write_shards(const Plan& plan, std::size_t param_idx, std::optional<Rank> only, JsonWriter& json) {
    json.begin_array();
    const std::int64_t begin = only ? only->value() : 0;
    const std::int64_t end = only ? begin + 1 : plan.world();
    for (std::int64_t rank = begin; rank < end; ++rank) {
        json.begin_object().field("rank", rank).key("index");
        write_index(shard_of(plan, param_idx, Rank{rank}), json);
        json.end_object();
    }
    json.end_array();
}

// What a specimen's code declares, where that is not the placements above.
void write_declaration(const Declaration& declared, JsonWriter& json) {
    const auto names = [&](std::string_view key, const std::vector<Axis>& axes) {
        json.key(key).begin_array();
        for (const Axis axis : axes) json.value(name_of(axis));
        json.end_array();
    };
    json.key("declared").begin_object();
    names("fsdp_mesh", declared.fsdp_mesh);
    names("axes", declared.axes);
    json.key("placements").begin_array();
    for (const Placement& placement : declared.placements) json.value(to_string(placement));
    json.end_array();
    if (declared.asserted_ranks) json.field("asserted_ranks", *declared.asserted_ranks);
    json.key("loaded_as").begin_object();
    for (const auto& [axis, placement] : declared.loaded_as) json.field(name_of(axis), to_string(placement));
    json.end_object().end_object();
}

void write_param(const Plan& plan, std::size_t param_idx, const PlanView& view, JsonWriter& json) {
    const ParamPlan& param = plan.params[param_idx];
    const Mesh& mesh = plan.mesh(param.placement.mesh);
    json.begin_object().field("name", param.parameter.name).key("shape").list(param.parameter.shape);
    json.field("dtype", name_of(param.dtype)).key("checkpoint").begin_array();
    for (const Source& source : param.parameter.sources) json.value(source.tensor);
    json.end_array().field("mesh", name_of(param.placement.mesh)).key("placements").begin_object();
    for (std::size_t i = 0; i < mesh.axes().size() && !param.placement.shards; ++i) {
        json.field(name_of(mesh.axes()[i].axis), to_string(param.placement.placements[i]));
    }
    json.end_object();
    if (param.placement.declared) write_declaration(*param.placement.declared, json);
    if (view.shards) {
        json.key("shards");
        write_shards(plan, param_idx, view.rank, json);
    }
    json.end_object();
}

}  // namespace

void write_dims(const ParallelDims& dims, JsonWriter& json) {
    json.begin_object().field("pp", dims.pp()).field("dp_replicate", dims.dp_replicate());
    json.field("dp_shard", dims.dp_shard()).field("cp", dims.cp()).field("tp", dims.tp()).field("ep", dims.ep());
    if (dims.has_etp()) json.field("etp", dims.etp());
    json.end_object();
}

void write_index(std::span<const IndexRuns> index, JsonWriter& json) {
    json.begin_array();
    for (const IndexRuns& runs : index) {
        json.begin_array();
        for (const Run& run : runs) json.begin_array().value(run.begin).value(run.end).end_array();
        json.end_array();
    }
    json.end_array();
}

void write_plan(const Plan& plan, const PlanView& view, JsonWriter& json,
                const std::function<void(JsonWriter&)>& cost) {
    json.begin_object().field("world", plan.world()).key("dims");
    write_dims(plan.dims, json);
    json.field("rules", plan.rules).key("meshes").begin_object().key("dense");
    write_mesh(plan.meshes.dense, json);
    json.key("sparse");
    write_mesh(plan.meshes.sparse, json);
    json.end_object().key("groups");
    write_groups(plan.meshes, json);
    json.key("bytes_per_rank").list(plan.params.empty() ? std::vector<std::int64_t>{} : bytes_per_rank(plan));
    json.key("params").begin_array();
    for (const std::size_t param_idx : view.params) write_param(plan, param_idx, view, json);
    json.end_array();
    if (!view.violations.empty()) json.key("violations").list(view.violations);
    if (cost) {
        json.key("cost");
        cost(json);
    }
    json.end_object();
}

}  // namespace shardproof::reports
