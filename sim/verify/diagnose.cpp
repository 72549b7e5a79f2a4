#include "sim/verify/diagnose.hpp"

#include <algorithm>

#include "sim/verify/verdict_of_shard.hpp"

namespace shardproof::verify {
namespace {

constexpr std::size_t kTablesMax = 8;

std::uint64_t hash_of_held(const Held& held) {
    std::uint64_t hash = 0xCBF2'9CE4'8422'2325U;
    const auto add = [&](std::int64_t number) {
        hash = (hash ^ static_cast<std::uint64_t>(number)) * 0x9FB2'1C65'1E98'DF25U;
        hash ^= hash >> 31U;
    };
    for (const LineRun& run : held.lines) {
        add(run.first);
        add(run.count);
    }
    add(-1);
    for (const Run& run : held.columns) {
        add(run.begin);
        add(run.end);
    }
    return hash;
}

std::optional<Role> other_of_pair(Role role) {
    switch (role) {
        case Role::expert_w1:
            return Role::expert_w3;
        case Role::expert_w3:
            return Role::expert_w1;
        case Role::ffn_w1:
            return Role::ffn_w3;
        case Role::ffn_w3:
            return Role::ffn_w1;
        case Role::shared_w1:
            return Role::shared_w3;
        case Role::shared_w3:
            return Role::shared_w1;
        default:
            return std::nullopt;
    }
}

}  // namespace

std::optional<Rank> Holders::holder(std::size_t param, const Held& held) {
    auto table = std::ranges::find(tables_, param, &Table::param);
    if (table == tables_.end()) {
        if (tables_.size() == kTablesMax) tables_.erase(tables_.begin());
        tables_.push_back({param, {}});
        table = tables_.end() - 1;
        for (std::int64_t rank = 0; rank < plan_->world(); ++rank)
            table->lowest.try_emplace(hash_of_held(held_by(*plan_, param, shard_of(*plan_, param, Rank{rank}))), rank);
    }
    const auto found = table->lowest.find(hash_of_held(held));
    if (found == table->lowest.end()) return std::nullopt;
    const Held there = held_by(*plan_, param, shard_of(*plan_, param, found->second));
    return there == held ? std::optional{found->second} : std::nullopt;
}

Diagnoser::Diagnoser(const Plan& plan, const Checkpoint& checkpoint)
    : plan_{&plan},
      reader_{plan, checkpoint},
      cuts_{column_cuts(plan)},
      indices_{plan, reader_, cuts_},
      holders_{plan} {
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        const Parameter& parameter = plan.params[p].parameter;
        param_of_[{parameter.role, parameter.layer.value_or(-1)}] = p;
    }
}

std::optional<std::size_t> Diagnoser::partner(std::size_t param) const {
    const Parameter& parameter = plan_->params[param].parameter;
    const std::optional<Role> role = other_of_pair(parameter.role);
    if (!role) return std::nullopt;
    const auto found = param_of_.find({*role, parameter.layer.value_or(-1)});
    return found == param_of_.end() ? std::nullopt : std::optional{found->second};
}

std::optional<Difference> Diagnoser::diagnose(std::size_t param, Rank rank, const FoundShard& found, bool everywhere,
                                              bool& is_known) {
    const PlannedShard planned = planned_shard(*plan_, reader_, cuts_, param, rank);
    ShardLines lines;
    is_known = true;
    if (found.is_there && found.trouble.empty()) {
        Lookup own(reader_, cuts_, nullptr);
        if (planned.cut < cuts_[param].size()) own.add_own(planned.lines, planned.held, planned.cut);
        lines = classify(own, reader_, cuts_, *plan_, planned, found, everywhere ? &indices_ : nullptr);
        is_known = lines.count(LineState::unknown) == 0;
        // Lines of another length are in the index that is made later.
        const std::int64_t width = line_length(found.shape);
        if (!is_known && !everywhere && width != planned.lines.width) {
            add_width(cuts_, *plan_, param, width);
            if (partner(param)) add_width(cuts_, *plan_, *partner(param), width);
        }
    }
    return ShardVerdict(*plan_, cuts_, planned, found, std::move(lines), partner(param), holders_).difference();
}

}  // namespace shardproof::verify
