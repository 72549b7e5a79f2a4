#include "oracle/expert_ids.hpp"

#include <algorithm>

#include "oracle/router.hpp"

namespace shardproof::oracle {

std::optional<IdFault> IdCheck::mark_chosen(const ExpertId* ids) {
    chosen_.assign(static_cast<std::size_t>(spec_->num_experts), false);
    for (std::size_t i = 0; i < static_cast<std::size_t>(spec_->top_k); ++i) {
        const std::int64_t id = ids[i].value();
        if (id < 0 || id >= spec_->num_experts) return IdFault{i, id, -1, 0, "expert id out of range"};
        if (chosen_[ids[i].idx()]) return IdFault{i, id, -1, 0, "expert id twice"};
        chosen_[ids[i].idx()] = true;
    }
    return std::nullopt;
}

std::optional<IdFault> IdCheck::find_broken_tie(const ExpertId* ids) const {
    for (std::size_t i = 0; i < static_cast<std::size_t>(spec_->top_k); ++i) {
        const std::int64_t id = ids[i].value();
        for (std::int64_t lower = twins_[ids[i].idx()]; lower < id; ++lower) {
            const auto at = static_cast<std::size_t>(lower);
            if (twins_[at] == twins_[ids[i].idx()] && !chosen_[at]) {
                return IdFault{i, id, lower, 0, "tie broken to the higher id"};
            }
        }
    }
    return std::nullopt;
}

std::optional<IdFault> IdCheck::check(const ExpertId* ids, const double* value, const double* error, bool& other) {
    if (const std::optional<IdFault> fault = mark_chosen(ids)) return fault;
    if (const std::optional<IdFault> fault = find_broken_tie(ids)) return fault;
    const std::vector<std::int64_t> best = top_k({value, chosen_.size()}, spec_->top_k);
    for (std::size_t i = 0; i < best.size(); ++i) {
        const std::int64_t id = ids[i].value();
        if (std::find(best.begin(), best.end(), id) != best.end()) continue;
        other = true;
        for (const std::int64_t rejected : best) {
            if (chosen_[static_cast<std::size_t>(rejected)]) continue;
            const double gap = value[rejected] - value[id];
            const double bound = error[rejected] + error[id];
            if (!(gap <= bound)) return IdFault{i, id, rejected, bound, "expert id"};
        }
    }
    return std::nullopt;
}

}  // namespace shardproof::oracle
