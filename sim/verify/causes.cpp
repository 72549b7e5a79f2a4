#include "sim/verify/causes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "sim/plan/dim_runs.hpp"
#include "sim/verify/cause_rules.hpp"

namespace shardproof::verify {

std::optional<std::vector<IndexRuns>> index_by(const Plan& plan, std::size_t param, const Mesh& mesh,
                                               const std::vector<Placement>& placements, Rank rank) {
    if (plan.params[param].placement.shards) return std::nullopt;
    const Layout layout{.mesh = &mesh, .placements = placements};
    return shard_index(layout, plan.params[param].parameter.shape, rank);
}

std::optional<std::size_t> only_axis_on(const Plan& plan, std::size_t param, std::size_t dim) {
    const ParamPlacement& placement = plan.params[param].placement;
    if (placement.shards) return std::nullopt;
    const std::vector<std::size_t> axes = axes_on(plan.mesh(placement.mesh), placement.placements, dim);
    return axes.size() == 1 ? std::optional{axes.front()} : std::nullopt;
}

std::vector<Cause> causes(const Plan& plan) {
    std::vector<Cause> rows;
    add_cut_causes(plan, rows);
    add_expert_causes(plan, rows);
    add_mesh_causes(plan, rows);
    return rows;
}

namespace {

// Whether a shard's content is what a rule would hold, and not what is planned. Where the shard has the planned room,
// the rule fills it as far as it goes, and what is left is blank.
bool explains(const Held& held, const Held& planned, const Content& content) {
    if (held == planned) return false;
    if (content.is_transposed || content.has_mixed_columns) return false;
    std::vector<LineRun> lines;
    bool ended = false;
    std::int64_t room = 0;
    for (const SeenRun& run : content.runs) {
        room += run.lines.count;
        if (run.seen == Seen::unknown) return false;
        if (run.seen != Seen::placed) {
            ended = true;
        } else if (ended) {
            return false;
        } else {
            append_lines(lines, run.lines);
        }
    }
    const bool has_planned_room = room == planned.num_lines();
    if (ended && !has_planned_room) return false;
    if (lines == held.lines) return lines.empty() || content.columns == held.columns;
    std::vector<LineRun> first;
    std::int64_t left = 0;
    for (const LineRun& run : lines) left += run.count;
    for (const LineRun& run : held.lines) {
        const std::int64_t count = std::min(left, run.count);
        append_lines(first, {run.param, run.first, count});
        left -= count;
    }
    return has_planned_room && !lines.empty() && lines == first && content.columns == held.columns;
}

// Pairs of which the rule says that they would differ, and which do not.
std::size_t contradictions(const Plan& plan, const Cause& cause, const std::set<std::pair<std::size_t, Rank>>& wrong,
                           std::size_t most) {
    std::size_t count = 0;
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        for (std::int64_t r = 0; r < plan.world(); ++r) {
            if (wrong.contains({p, Rank{r}})) continue;
            const std::optional<Held> held = cause.would_hold(plan, p, Rank{r});
            if (held && *held != held_by(plan, p, shard_of(plan, p, Rank{r})) && ++count > most) return count;
        }
    }
    return count;
}

// What most differences have in common where no rule says where their values come from.
struct Common {
    bool (*is_one)(const Difference&);
    std::string (*sentence)(const Plan&, const std::vector<const Difference*>&);
};

bool has_only(const Difference& difference, std::initializer_list<Seen> kinds) {
    return !difference.content.runs.empty() && std::ranges::all_of(difference.content.runs, [&](const SeenRun& run) {
        return std::ranges::find(kinds, run.seen) != kinds.end();
    });
}

bool all_are_experts(const Plan& plan, const std::vector<const Difference*>& differences) {
    return std::ranges::all_of(differences, [&](const Difference* d) {
        return d->param_idx && is_routed_expert(plan.params[*d->param_idx].parameter.role);
    });
}

std::string not_loaded_sentence(const Plan& plan, const std::vector<const Difference*>& differences) {
    const auto num_nan =
        std::ranges::count_if(differences, [](const Difference* d) { return has_only(*d, {Seen::nans}); });
    const char* const what = num_nan == std::ssize(differences) ? "NaN" : "zeros or other initial values";
    if (all_are_experts(plan, differences))
        return fmt::format("expert keys match no parameter and are skipped: experts keep {}", what);
    return fmt::format("parameters are never filled, their bytes went nowhere: {} remain", what);
}

const std::array kCommon{
    Common{[](const Difference& d) { return d.content.is_under_other_names; },
           [](const Plan&, const std::vector<const Difference*>&) {
               return std::string{"experts are saved under local ids: each rank counts its own from 0"};
           }},
    Common{[](const Difference& d) { return d.content.has_surplus; },
           [](const Plan&, const std::vector<const Difference*>&) {
               return std::string{"padding is kept as data: shards go on beyond their last row"};
           }},
    Common{[](const Difference& d) { return d.kind == Kind::truncated && d.content.runs.empty(); },
           [](const Plan&, const std::vector<const Difference*>&) {
               return std::string{"slices are empty: begin and end are taken for each other"};
           }},
    Common{[](const Difference& d) { return d.kind == Kind::transposed; },
           [](const Plan&, const std::vector<const Difference*>& all) {
               std::set<std::string> names;
               for (const Difference* d : all) names.insert(d->param.substr(d->param.find_last_of('.') + 1));
               return names.size() == 1 && *names.begin() != "weight"
                          ? fmt::format("{} is transposed once too often", *names.begin())
                          : std::string{"matrices are transposed once too often"};
           }},
    Common{[](const Difference& d) { return d.kind == Kind::rounded; },
           [](const Plan&, const std::vector<const Difference*>& all) {
               std::map<std::string, std::size_t> paths;
               for (const Difference* d : all) ++paths[d->dtype_path];
               const auto most = std::ranges::max_element(paths, {}, [](const auto& path) { return path.second; });
               return fmt::format("values went through a narrower dtype: {}", most->first);
           }},
    Common{[](const Difference& d) { return has_only(d, {Seen::zeros, Seen::nans, Seen::constant}); },
           not_loaded_sentence},
    Common{[](const Difference& d) { return d.kind == Kind::corrupt && has_only(d, {Seen::unknown}); },
           [](const Plan&, const std::vector<const Difference*>&) {
               return std::string{
                   "values that are not in this checkpoint: of another one, of an earlier load, or never loaded"};
           }},
    Common{[](const Difference& d) { return d.kind == Kind::missing || d.kind == Kind::unexpected; },
           [](const Plan&, const std::vector<const Difference*>& all) {
               const auto num_unexpected =
                   std::ranges::count_if(all, [](const Difference* d) { return d->kind == Kind::unexpected; });
               return num_unexpected > 0 ? std::string{"parameters stand under names of another program, or under none"}
                                         : std::string{"parameters are left out of the dump"};
           }},
};

std::optional<std::string> common_trait(const Plan& plan, const std::vector<Difference>& differences) {
    for (const Common& common : kCommon) {
        std::vector<const Difference*> ones;
        for (const Difference& difference : differences) {
            if (common.is_one(difference)) ones.push_back(&difference);
        }
        if (2 * ones.size() > differences.size() && (ones.size() > 1 || plan.world() == 1))
            return common.sentence(plan, ones);
    }
    return std::nullopt;
}

}  // namespace

std::optional<std::string> find_cause(const Plan& plan, const std::vector<Difference>& differences) {
    if (differences.empty()) return std::nullopt;
    std::set<std::pair<std::size_t, Rank>> wrong;
    for (const Difference& difference : differences) {
        if (difference.param_idx) wrong.emplace(*difference.param_idx, difference.rank);
    }
    std::size_t most = 0;
    std::size_t least_contradicted = 0;
    std::optional<std::string> best;
    for (const Cause& cause : causes(plan)) {
        std::size_t explained = 0;
        for (const Difference& difference : differences) {
            if (!difference.param_idx || difference.content.runs.empty()) continue;
            const std::optional<Held> held = cause.would_hold(plan, *difference.param_idx, difference.rank);
            if (!held) continue;
            const Held planned =
                held_by(plan, *difference.param_idx, shard_of(plan, *difference.param_idx, difference.rank));
            explained += explains(*held, planned, difference.content) ? 1 : 0;
        }
        if (2 * explained <= differences.size() || explained < most) continue;
        const std::size_t against = contradictions(plan, cause, wrong, explained);
        // Some ranks may hold what both rules say by chance of equal content; a rule that fails as often as not is
        // none.
        if (2 * against > explained || (explained == most && against >= least_contradicted)) continue;
        most = explained;
        least_contradicted = against;
        best = cause.sentence;
    }
    return best ? best : common_trait(plan, differences);
}

}  // namespace shardproof::verify
