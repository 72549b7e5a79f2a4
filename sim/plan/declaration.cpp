#include "sim/plan/declaration.hpp"

#include <algorithm>
#include <utility>

#include "sim/plan/dim_runs.hpp"

namespace shardproof {
namespace {

std::string spelled(const std::vector<Axis>& axes) {
    std::string text;
    for (const Axis axis : axes) text += (text.empty() ? "(" : ", ") + std::string{name_of(axis)};
    return text + ")";
}

// FSDP replicates over the first of two axes and shards over the second.
void judge_order(const Declaration& declared, const std::string& param, std::vector<DeclarationViolation>& found) {
    if (declared.fsdp_mesh.size() != 2 || declared.fsdp_mesh.front() == Axis::dp_replicate) return;
    found.push_back({param, std::string{name_of(declared.fsdp_mesh.back())},
                     "is the second of the mesh " + spelled(declared.fsdp_mesh) +
                         " given to FSDP, which shards over the second axis and replicates over the first"});
}

void judge_size(const Mesh& mesh, const Declaration& declared, const std::string& param,
                std::vector<DeclarationViolation>& found) {
    if (!declared.asserted_ranks) return;
    std::int64_t ranks = 1;
    for (const Axis axis : declared.fsdp_mesh) ranks *= mesh.size(axis);
    if (ranks == *declared.asserted_ranks) return;
    const auto data = std::find_if(declared.fsdp_mesh.begin(), declared.fsdp_mesh.end(),
                                   [](Axis axis) { return axis != Axis::dp_replicate; });
    found.push_back({param, std::string{name_of(*data)},
                     "is of a mesh " + spelled(declared.fsdp_mesh) + " of " + std::to_string(ranks) +
                         (ranks == 1 ? " rank" : " ranks") + ", whose size is asserted to be " +
                         std::to_string(*declared.asserted_ranks) +
                         ": size() counts ranks, the number of axes is meant"});
}

void judge_count(const Declaration& declared, const std::string& param, std::vector<DeclarationViolation>& found) {
    const std::size_t given = declared.placements.size();
    if (given >= declared.axes.size()) return;
    found.push_back({param, std::string{name_of(declared.axes[given])},
                     "has no placement: the DTensor has " + std::to_string(given) + " on the " +
                         std::to_string(declared.axes.size()) + " axes " + spelled(declared.axes)});
}

void judge_loading(const Mesh& mesh, const ParamPlan& plan, std::vector<DeclarationViolation>& found) {
    for (const auto& [axis, taken_for] : plan.placement.declared->loaded_as) {
        const Placement& stored = plan.placement.placements[mesh.axis_idx(axis)];
        if (mesh.size(axis) == 1 || dim_of(stored) < 0 || dim_of(taken_for) >= 0) continue;
        found.push_back({plan.parameter.name, std::string{name_of(axis)},
                         "is " + to_string(stored) + " in storage, each rank holding one part of " +
                             std::to_string(mesh.size(axis)) + ", and loading takes it for " + to_string(taken_for)});
    }
}

}  // namespace

std::vector<DeclarationViolation> declaration_violations(const Plan& plan) {
    std::vector<DeclarationViolation> found;
    for (const ParamPlan& param : plan.params) {
        if (!param.placement.declared) continue;
        const Declaration& declared = *param.placement.declared;
        const Mesh& mesh = plan.mesh(param.placement.mesh);
        judge_order(declared, param.parameter.name, found);
        judge_size(mesh, declared, param.parameter.name, found);
        judge_count(declared, param.parameter.name, found);
        judge_loading(mesh, param, found);
    }
    return found;
}

std::vector<std::string> to_lines(const std::vector<DeclarationViolation>& violations) {
    struct Kind {
        const DeclarationViolation* first;
        std::int64_t count;
    };
    std::vector<Kind> kinds;
    for (const DeclarationViolation& violation : violations) {
        const auto same = std::find_if(kinds.begin(), kinds.end(), [&](const Kind& kind) {
            return kind.first->axis == violation.axis && kind.first->reason == violation.reason;
        });
        if (same != kinds.end()) {
            ++same->count;
        } else {
            kinds.push_back({&violation, 1});
        }
    }
    std::vector<std::string> lines;
    for (const Kind& kind : kinds) {
        lines.push_back(kind.first->param + ": axis " + kind.first->axis + " " + kind.first->reason);
        if (kind.count > 1) lines.back() += " (so with " + std::to_string(kind.count - 1) + " more parameters)";
    }
    return lines;
}

}  // namespace shardproof
