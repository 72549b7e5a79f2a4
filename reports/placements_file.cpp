#include "reports/placements_file.hpp"

#include <array>
#include <map>

#include "oracle/model/error.hpp"
#include "reports/json_field.hpp"

namespace shardproof::reports {
namespace {

Axis axis_named(const std::string& name, const JsonField& field) {
    for (const Axis axis : {Axis::pp, Axis::dp_replicate, Axis::fsdp, Axis::cp, Axis::tp, Axis::efsdp, Axis::ep,
                            Axis::etp, Axis::batch}) {
        if (name_of(axis) == name) return axis;
    }
    field.refuse("must be under the name of an axis: pp, dp_replicate, fsdp, tp, efsdp or ep");
}

MeshKind mesh_of(const JsonField& field) {
    const std::string name = field.text();
    if (name == name_of(MeshKind::dense)) return MeshKind::dense;
    if (name == name_of(MeshKind::sparse)) return MeshKind::sparse;
    field.refuse("must be dense or sparse");
}

std::vector<GivenShard> shards_of(const JsonField& list) {
    std::vector<GivenShard> shards;
    for (const JsonField& field : list.items()) {
        field.allow({"rank", "index"});
        GivenShard& shard = shards.emplace_back(GivenShard{.rank = Rank{field.at("rank").number()}, .index = {}});
        for (const JsonField& runs : field.at("index").items()) shard.index.push_back(runs.runs());
    }
    return shards;
}

Placement placement_of(const JsonField& field) {
    std::optional<Placement> placement = placement_named(field.text());
    if (!placement) field.refuse("must be R, P, S(d), SS(d,k) or O(d)");
    return *placement;
}

std::vector<Axis> axes_of(const JsonField& list) {
    std::vector<Axis> axes;
    for (const JsonField& axis : list.items()) axes.push_back(axis_named(axis.text(), axis));
    return axes;
}

Declaration declaration_of(const JsonField& field) {
    field.allow({"fsdp_mesh", "asserted_ranks", "axes", "placements", "loaded_as"});
    Declaration declared;
    declared.fsdp_mesh = axes_of(field.at("fsdp_mesh"));
    declared.axes = axes_of(field.at("axes"));
    for (const JsonField& placement : field.at("placements").items())
        declared.placements.push_back(placement_of(placement));
    if (field.has("asserted_ranks") && !field.at("asserted_ranks").is_null())
        declared.asserted_ranks = field.at("asserted_ranks").number();
    if (!field.has("loaded_as")) return declared;
    for (const auto& [name, value] : field.at("loaded_as").entries())
        declared.loaded_as.emplace_back(axis_named(name, value), placement_of(value));
    return declared;
}

GivenParam param_of(const JsonField& field) {
    field.allow({"name", "shape", "dtype", "checkpoint", "mesh", "placements", "declared", "shards"});
    GivenParam param{.name = field.at("name").text(),
                     .path = field.path(),
                     .shape = {},
                     .dtype = {},
                     .mesh = {},
                     .placements = {},
                     .shards = {}};
    if (field.has("shape")) {
        param.shape.emplace();
        for (const JsonField& extent : field.at("shape").items()) param.shape->push_back(extent.number());
    }
    if (field.has("dtype")) param.dtype = field.at("dtype").text();
    if (field.has("mesh")) param.mesh = mesh_of(field.at("mesh"));
    if (field.has("placements")) {
        for (const auto& [name, value] : field.at("placements").entries()) {
            const Axis axis = axis_named(name, value);
            param.placements.emplace_back(axis, placement_of(value));
        }
    }
    if (field.has("checkpoint")) {
        param.checkpoint.emplace();
        for (const JsonField& tensor : field.at("checkpoint").items()) param.checkpoint->push_back(tensor.text());
    }
    if (field.has("declared")) param.declared = declaration_of(field.at("declared"));
    if (field.has("shards")) param.shards = shards_of(field.at("shards"));
    if (!field.has("placements") && !field.has("shards")) field.refuse("must have placements, or shards");
    return param;
}

GivenMesh mesh_of(MeshKind kind, const JsonField& field) {
    field.allow({"axes", "sizes"});
    GivenMesh mesh{.path = field.path(), .kind = kind, .axes = {}};
    const std::vector<JsonField> sizes = field.at("sizes").items();
    for (const JsonField& axis : field.at("axes").items()) {
        if (mesh.axes.size() == sizes.size()) break;
        for (const auto& [other, size] : mesh.axes) {
            if (name_of(other) == axis.text()) axis.refuse("must not come twice");
        }
        const JsonField& size = sizes[mesh.axes.size()];
        if (size.number() < 1) size.refuse("must be >= 1");
        mesh.axes.emplace_back(axis_named(axis.text(), axis), size.number());
    }
    if (mesh.axes.size() != sizes.size() || field.at("axes").items().size() != sizes.size())
        field.refuse("must have as many sizes as axes");
    return mesh;
}

RawDims dims_of(const JsonField& field) {
    field.allow({"pp", "dp_replicate", "dp_shard", "cp", "tp", "ep", "etp"});
    RawDims dims;
    const std::array<std::pair<const char*, std::int64_t*>, 6> degrees{{{"pp", &dims.pp},
                                                                        {"dp_replicate", &dims.dp_replicate},
                                                                        {"dp_shard", &dims.dp_shard},
                                                                        {"cp", &dims.cp},
                                                                        {"tp", &dims.tp},
                                                                        {"ep", &dims.ep}}};
    for (const auto& [name, degree] : degrees) {
        if (!field.has(name)) continue;
        *degree = field.at(name).number();
        if (*degree < 1) field.at(name).refuse("must be >= 1");
    }
    if (field.has("etp")) {
        dims.etp = field.at("etp").number();
        if (*dims.etp < 1) field.at("etp").refuse("must be >= 1");
    }
    return dims;
}

std::vector<std::vector<Rank>> groups_of(const JsonField& field) {
    std::vector<std::vector<Rank>> groups;
    for (const JsonField& group : field.items()) {
        groups.emplace_back();
        for (const JsonField& rank : group.items()) groups.back().emplace_back(rank.number());
    }
    return groups;
}

// It is printed as the name of a rule set.
std::string rules_of(const JsonField& field) {
    constexpr std::string_view kTaken = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    constexpr std::size_t kLengthMax = 64;
    std::string name = field.text();
    if (name.empty() || name.size() > kLengthMax || name.find_first_not_of(kTaken) != std::string::npos)
        field.refuse("must be a word of up to 64 letters, digits, - _ and .");
    return name;
}

PlacementsFile placements_of(const JsonField& root, const std::string& file) {
    PlacementsFile read;
    read.layout.file = file;
    root.allow({"world", "dims", "rules", "meshes", "groups", "bytes_per_rank", "params", "violations", "cost"});
    if (root.has("rules")) read.layout.rules = rules_of(root.at("rules"));
    if (root.has("dims")) read.dims = dims_of(root.at("dims"));
    if (root.has("world")) read.world = root.at("world").number();
    if (root.has("meshes")) {
        const JsonField meshes = root.at("meshes");
        meshes.allow({"dense", "sparse"});
        for (const MeshKind kind : {MeshKind::dense, MeshKind::sparse}) {
            const std::string name{name_of(kind)};
            if (meshes.has(name)) read.layout.meshes.push_back(mesh_of(kind, meshes.at(name)));
        }
    }
    if (root.has("groups")) {
        for (const auto& [name, field] : root.at("groups").entries())
            read.layout.groups.push_back({field.path(), name, groups_of(field)});
    }
    std::map<std::string, std::string> path_of;
    for (const JsonField& field : root.at("params").items()) {
        GivenParam param = param_of(field);
        const auto [place, is_new] = path_of.try_emplace(param.name, param.path);
        if (!is_new) field.at("name").refuse("must not come twice: it is " + place->second + " as well");
        read.layout.params.push_back(std::move(param));
    }
    return read;
}

}  // namespace

PlacementsFile parse_placements(std::string_view json_text, const std::string& file) {
    const nlohmann::json document = parse_json(json_text, file);
    return placements_of(JsonField(document, "", file), file);
}

PlacementsFile read_placements(const std::filesystem::path& file) {
    const std::string name = file.string();
    const nlohmann::json document = read_json_file(file);
    return placements_of(JsonField(document, "", name), name);
}

}  // namespace shardproof::reports
