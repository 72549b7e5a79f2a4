#include "reports/plan_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <ostream>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "reports/text.hpp"

namespace shardproof::reports {
namespace {

constexpr std::size_t kGroupsShown = 4;

std::string mesh_text(const Mesh& mesh) {
    std::string text;
    for (const MeshAxis& axis : mesh.axes()) {
        text += fmt::format("{}{} {}", text.empty() ? "" : " x ", name_of(axis.axis), axis.size);
    }
    return text;
}

void print_meshes(const Plan& plan, std::ostream& out) {
    const ParallelDims& dims = plan.dims;
    out << fmt::format("rules {}, world {}: dp_replicate {}, dp_shard {}, cp {}, tp {}, pp {}, ep {}{}\n\n", plan.rules,
                       plan.world(), dims.dp_replicate(), dims.dp_shard(), dims.cp(), dims.tp(), dims.pp(), dims.ep(),
                       (dims.has_etp() ? fmt::format(", etp {}", dims.etp()) : "") +
                           (dims.sequence_parallel() ? ", sequence parallel" : ""));
    out << "meshes\n  dense   " << mesh_text(plan.meshes.dense) << "\n  sparse  " << mesh_text(plan.meshes.sparse)
        << "\n\n";
    out << "groups\n";
    for (const NamedGroups& named : named_groups(plan.meshes)) {
        const std::size_t size = named.groups.empty() ? 0 : named.groups.front().size();
        out << fmt::format("  {:<13}", named.name);
        if (size <= 1) {
            out << "every rank by itself\n";
            continue;
        }
        out << fmt::format("{} of {}: ", grouped(named.groups.size()), size);
        for (std::size_t i = 0; i < std::min(named.groups.size(), kGroupsShown); ++i) {
            out << (i > 0 ? " " : "") << group_text(named.groups[i]);
        }
        out << (named.groups.size() > kGroupsShown ? " ...\n" : "\n");
    }
    out << '\n';
}

std::string placement_text(const Plan& plan, const ParamPlacement& placement) {
    if (placement.shards) return "rank by rank";
    const Mesh& mesh = plan.mesh(placement.mesh);
    std::string text;
    for (std::size_t i = 0; i < mesh.axes().size(); ++i) {
        if (std::holds_alternative<Replicate>(placement.placements[i])) continue;
        text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name_of(mesh.axes()[i].axis),
                            to_string(placement.placements[i]));
    }
    return text.empty() ? "replicated" : text;
}

// What ranks hold: the first rank's shape and, where it is another, the last one's. Chunks shrink with the coordinate,
// so these are the largest and the smallest.
std::string local_text(const Plan& plan, std::size_t param_idx, std::optional<Rank> rank) {
    if (rank) return index_text(shard_of(plan, param_idx, *rank));
    const std::string first = to_string(local_shape(shard_of(plan, param_idx, Rank{0})));
    const std::string last = to_string(local_shape(shard_of(plan, param_idx, Rank{plan.world() - 1})));
    return first == last ? first : fmt::format("{} .. {}", first, last);
}

// Parameters of different layers that are alike in all that is printed are one row.
struct Row {
    std::vector<std::string> cells;  // all but the name
    std::string name;                // with * for the layer
    std::vector<std::int64_t> layers;
};

std::vector<Row> rows_of(const Plan& plan, const PlanView& view) {
    std::vector<Row> rows;
    std::map<std::pair<std::string, std::vector<std::string>>, std::size_t> row_of;
    for (const std::size_t param_idx : view.params) {
        const ParamPlan& param = plan.params[param_idx];
        std::string name = param.parameter.name;
        const auto& layer = param.parameter.layer;
        if (const std::string prefix = layer ? fmt::format("layers.{}.", *layer) : "";
            layer && name.starts_with(prefix)) {
            name = "layers.*." + name.substr(prefix.size());
        }
        std::vector<std::string> cells{to_string(param.parameter.shape), std::string{name_of(param.dtype)},
                                       std::string{name_of(param.placement.mesh)},
                                       placement_text(plan, param.placement)};
        if (view.shards) cells.push_back(local_text(plan, param_idx, view.rank));
        const auto [place, is_new] = row_of.try_emplace({name, cells}, rows.size());
        if (is_new) rows.push_back({std::move(cells), std::move(name), {}});
        if (layer) rows[place->second].layers.push_back(*layer);
    }
    return rows;
}

void print_params(const Plan& plan, const PlanView& view, std::ostream& out) {
    std::vector<std::string> header{"parameter", "shape", "dtype", "mesh", "placement"};
    if (view.shards) header.push_back(view.rank ? fmt::format("rank {} holds", view.rank->value()) : "a rank holds");
    Table table(std::move(header));
    for (Row& row : rows_of(plan, view)) {
        if (!row.layers.empty()) {
            const std::string layers = ranges_text(row.layers);
            row.name.replace(row.name.find('*'), 1, row.layers.size() == 1 ? layers : '{' + layers + '}');
        }
        row.cells.insert(row.cells.begin(), std::move(row.name));
        table.add(std::move(row.cells));
    }
    out << "parameters\n";
    table.print(out);
    out << '\n';
}

void print_bytes(const Plan& plan, std::optional<Rank> rank, std::ostream& out) {
    const std::vector<std::int64_t> bytes = bytes_per_rank(plan);
    const auto text = [](std::int64_t count) {
        return fmt::format("{} ({})", grouped(static_cast<std::uint64_t>(count)),
                           bytes_text(static_cast<std::uint64_t>(count)));
    };
    const auto [least, most] = std::ranges::minmax(bytes);
    const std::int64_t sum = std::accumulate(bytes.begin(), bytes.end(), std::int64_t{0});
    const double mean = static_cast<double>(sum) / static_cast<double>(bytes.size());
    out << "bytes\n";
    if (rank) out << fmt::format("  rank {}: {}\n", rank->value(), text(bytes[rank->idx()]));
    if (least == most) {
        out << fmt::format("  {} on every rank, {} in all\n", text(most), text(sum));
        return;
    }
    out << fmt::format("  {} to {} a rank, {} in all; the fullest rank holds {:.1f} % more than the mean\n",
                       text(least), text(most), text(sum), (static_cast<double>(most) / mean - 1) * 100);
}

}  // namespace

void print_plan(const Plan& plan, const PlanView& view, std::ostream& out) {
    print_meshes(plan, out);
    if (plan.params.empty()) return;
    print_params(plan, view, out);
    print_bytes(plan, view.rank, out);
    if (view.violations.empty()) return;
    out << "\nnot covered\n";
    for (const std::string& violation : view.violations) out << "  " << violation << '\n';
}

}  // namespace shardproof::reports
