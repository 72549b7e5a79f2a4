// Causes: experts dealt to expert-parallel ranks by another rule.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/verify/cause_rules.hpp"

namespace shardproof::verify {
namespace {

IndexRuns run_of(std::int64_t begin, std::int64_t end, std::int64_t extent) {
    const Run run{std::min(begin, extent), std::min(end, extent)};
    return run.size() > 0 ? IndexRuns{run} : IndexRuns{};
}

// `extent` indices over `parts`: what part `at` gets.
struct Dealing {
    const char* sentence;
    IndexRuns (*part)(std::int64_t extent, std::int64_t parts, std::int64_t at);
};
constexpr std::array kDealings{
    Dealing{"every ep rank loaded the first E/ep experts",
            [](std::int64_t extent, std::int64_t parts, std::int64_t at) {
                return run_of(0, chunk(extent, parts, at).size(), extent);
            }},
    Dealing{"remainder experts are all on the last ep rank",
            [](std::int64_t extent, std::int64_t parts, std::int64_t at) {
                const std::int64_t each = extent / parts;
                return run_of(at * each, at + 1 == parts ? extent : (at + 1) * each, extent);
            }},
    Dealing{"the owner of expert e is taken as e / floor(E/ep): remainder experts are on no rank",
            [](std::int64_t extent, std::int64_t parts, std::int64_t at) {
                const std::int64_t each = extent / parts;
                return run_of(at * each, (at + 1) * each, extent);
            }},
    Dealing{"the first E % ep ranks hold one expert more (balanced split)",
            [](std::int64_t extent, std::int64_t parts, std::int64_t at) {
                const std::int64_t each = extent / parts;
                const std::int64_t begin = at * each + std::min(at, extent % parts);
                return run_of(begin, begin + each + (at < extent % parts ? 1 : 0), extent);
            }},
    Dealing{"experts are dealt as torch.chunk does, ceil(E/ep) to a rank",
            [](std::int64_t extent, std::int64_t parts, std::int64_t at) {
                const Run run = chunk(extent, parts, at);
                return run_of(run.begin, run.end, extent);
            }},
    Dealing{"experts are dealt round-robin",
            [](std::int64_t extent, std::int64_t parts, std::int64_t at) {
                IndexRuns runs;
                for (std::int64_t e = at; e < extent; e += parts) append_run(runs, {e, e + 1});
                return runs;
            }},
};

std::optional<std::size_t> expert_axis(const Plan& plan, std::size_t param) {
    if (!is_routed_expert(plan.params[param].parameter.role)) return std::nullopt;
    return only_axis_on(plan, param, 0);
}

// Experts as `part` says, the other dims as planned.
void add_dealing(std::string sentence,
                 const std::function<IndexRuns(const Plan&, std::int64_t extent, std::int64_t parts, std::int64_t at,
                                               Rank rank)>& part,
                 std::vector<Cause>& rows) {
    rows.push_back({std::move(sentence), [part](const Plan& plan, std::size_t param, Rank rank) {
                        std::optional<Held> held;
                        const std::optional<std::size_t> axis = expert_axis(plan, param);
                        if (!axis) return held;
                        const Mesh& mesh = plan.mesh(plan.params[param].placement.mesh);
                        std::vector<IndexRuns> index = shard_of(plan, param, rank);
                        index[0] = part(plan, plan.params[param].parameter.shape[0], mesh.axes()[*axis].size,
                                        mesh.coordinates(rank)[*axis], rank);
                        held = held_by(plan, param, index);
                        return held;
                    }});
}

}  // namespace

void add_expert_causes(const Plan& plan, std::vector<Cause>& rows) {
    if (!plan.config.first_moe_layer() || plan.dims.ep() == 1) return;
    for (const Dealing& dealing : kDealings) {
        add_dealing(
            dealing.sentence,
            [part = dealing.part](const Plan&, std::int64_t extent, std::int64_t parts, std::int64_t at, Rank) {
                return part(extent, parts, at);
            },
            rows);
    }
    for (const Axis axis : {Axis::tp, Axis::fsdp}) {
        if (plan.meshes.dense.size(axis) == 1) continue;
        const char* const whose = axis == Axis::tp ? "tensor-parallel" : "data-parallel";
        add_dealing(
            fmt::format("experts are dealt by the {} rank, not the expert-parallel one", whose),
            [axis](const Plan& p, std::int64_t extent, std::int64_t parts, std::int64_t, Rank rank) {
                const Run run = chunk(extent, parts, p.meshes.dense.coordinate(rank, axis) % parts);
                return run_of(run.begin, run.end, extent);
            },
            rows);
    }
    const std::int64_t experts = plan.config.router.num_experts;
    add_dealing(
        "expert groups are made of E ranks, not of ep: a rank holds expert rank % E",
        [experts](const Plan&, std::int64_t extent, std::int64_t, std::int64_t, Rank rank) {
            return run_of(rank.value() % experts, rank.value() % experts + 1, extent);
        },
        rows);
    add_dealing(
        "experts are not cut: every rank holds all of them",
        [](const Plan&, std::int64_t extent, std::int64_t, std::int64_t, Rank) { return run_of(0, extent, extent); },
        rows);
}

}  // namespace shardproof::verify
