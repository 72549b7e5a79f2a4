// How much of a shard is wrong, where that begins, and whose content is there instead.
#include <algorithm>
#include <map>

#include "sim/verify/verdict_of_shard.hpp"

namespace shardproof::verify {

void ShardVerdict::place_first(std::int64_t planned_line, std::int64_t element) {
    if (difference_.first || planned_->lines.values.empty()) return;
    difference_.first = global_coordinates(planned_->index, planned_line * planned_->lines.width + element);
}

void ShardVerdict::count_wrong() {
    const std::int64_t width = planned_->lines.width;
    const std::int64_t all = num_elements(planned_->shape);
    const bool is_transposed = lines_.view != View::as_is || found_->is_turned;
    if (columns_missing_ > 0) return;
    if (is_transposed) {
        // As it is declared: every element of another shape is wrong.
        difference_.count = all;
        std::int64_t first = 0;
        if (!found_->is_turned && found_->shape == planned_->shape) {
            std::vector<Value> raw(static_cast<std::size_t>(all));
            read_values(found_->dtype, found_->bytes, raw);
            difference_.count = all - num_equal(raw, planned_->lines.values);
            while (first < all &&
                   raw[static_cast<std::size_t>(first)] == planned_->lines.values[static_cast<std::size_t>(first)])
                ++first;
        }
        if (first < all) place_first(first / width, first % width);
        return;
    }
    // Position by position; in a shortened shard, what it lacks.
    std::vector<bool> right(static_cast<std::size_t>(all == 0 ? 0 : planned_->lines.size()), false);
    std::int64_t wrong_elements = 0;
    std::optional<std::pair<std::int64_t, std::int64_t>> first;
    for (std::size_t i = 0; i < known_.size() && !right.empty(); ++i) {
        std::int64_t at = -1;
        if (lines_.is_aligned) {
            at = lines_.planned_at[i];
            wrong_elements += lines_.wrong[i];
            if (lines_.wrong[i] > 0 && (!first || at < first->first)) {
                std::int64_t element = 0;
                const auto found = lines_.found.line(static_cast<std::int64_t>(i));
                const auto planned = planned_->lines.line(at);
                while (found[static_cast<std::size_t>(element)] == planned[static_cast<std::size_t>(element)])
                    ++element;
                first = {at, element};
            }
        } else if (known_[i].is_known && known_[i].param == planned_->param && known_[i].cut == planned_->cut) {
            const std::optional<std::int64_t> position = position_of(known_[i].line);
            const bool counts = position && (is(Kind::truncated) || *position == static_cast<std::int64_t>(i));
            at = counts ? *position : -1;
        }
        if (at >= 0) right[static_cast<std::size_t>(at)] = true;
    }
    const auto lacking = std::ranges::find(right, false);
    if (lacking != right.end()) {
        const std::int64_t at = lacking - right.begin();
        if (!first || at < first->first) first = {at, 0};
    }
    wrong_elements += std::ranges::count(right, false) * width;
    const std::int64_t surplus = num_elements(found_->shape) - all;
    if (!lines_.is_aligned && surplus > 0) wrong_elements += surplus;
    difference_.count = wrong_elements;
    if (first) {
        place_first(first->first, first->second);
    } else if (surplus > 0 && !planned_->lines.values.empty()) {
        // The place after the last one.
        difference_.first = global_coordinates(planned_->index, 0);
        const IndexRuns& runs = planned_->index.front();
        difference_.first->front() = runs.back().end;
    }
}

void ShardVerdict::find_experts() {
    if (!is_routed_expert(parameter_->role) || found_->shape.size() != 3 || known_.empty()) return;
    const std::int64_t of_slot = found_->shape[1];
    if (of_slot == 0) return;
    for (std::int64_t begin = 0; begin < std::ssize(known_); begin += of_slot) {
        std::map<std::int64_t, std::int64_t> votes;
        for (std::int64_t i = begin; i < begin + of_slot; ++i) {
            const FoundLine& line = known_[static_cast<std::size_t>(i)];
            if (line.is_known && is_routed_expert(plan_->params[line.param].parameter.role))
                ++votes[line.line / lines_of_expert(plan_->params[line.param].parameter)];
        }
        if (votes.empty()) continue;
        difference_.found_experts.push_back(
            std::ranges::max_element(votes, {}, [](const auto& vote) { return vote.second; })->first);
    }
    if (experts_are_ambiguous_) difference_.found_experts.clear();
}

// Whose shard all known lines together are; blank and unknown ones must not be many.
void ShardVerdict::find_rank() {
    if (known_.empty() || experts_are_ambiguous_) return;
    Held held;
    std::optional<std::size_t> cut;
    std::optional<std::size_t> param;
    for (const FoundLine& line : known_) {
        if (!line.is_known || (cut && *cut != line.cut) || (param && *param != line.param)) return;
        cut = line.cut;
        param = line.param;
        append_lines(held.lines, {line.param, line.line, 1});
    }
    held.columns = (*cuts_)[*param][*cut];
    const bool is_own = held.columns == planned_->held.columns && position_of(held.lines.front().first) == 0 &&
                        std::ranges::equal(held.lines, planned_->held.lines, [](const LineRun& a, const LineRun& b) {
                            return a.first == b.first && a.count == b.count;
                        });
    if (!is_own) difference_.found_rank = holders_->holder(*param, held);
}

}  // namespace shardproof::verify
