// Which kinds of difference fit a shard's lines.
#include <algorithm>

#include "sim/verify/verdict_of_shard.hpp"

namespace shardproof::verify {

// Lines of this parameter or its partner, against the experts and lines that the rank should hold.
void ShardVerdict::judge_experts_and_ranks() {
    const bool stacked = is_routed_expert(parameter_->role);
    const std::int64_t of_expert = lines_of_expert(*parameter_);
    std::set<std::int64_t> experts;
    if (stacked) {
        for (const Run& run : planned_->index.front()) {
            for (std::int64_t e = run.begin; e < run.end; ++e) experts.insert(e);
        }
    }
    for (std::size_t i = 0; i < known_.size(); ++i) {
        const FoundLine& line = known_[i];
        if (!line.is_known) continue;
        if (line.param != planned_->param && line.param != partner_) {
            is_other_matrix_ = true;
            continue;
        }
        if (line.param == partner_) fits(Kind::swapped_gate_up);
        const IndexRuns& columns = (*cuts_)[line.param][line.cut];
        const bool is_own = position_of(line.line) && columns == planned_->index.back();
        if (is_own) continue;
        fits(stacked && !experts.contains(line.line / of_expert) ? Kind::wrong_expert : Kind::wrong_rank);
    }
}

// The same lines twice, or the right ones in another order.
void ShardVerdict::judge_order() {
    std::set<std::pair<std::size_t, std::int64_t>> seen;
    bool twice = false;
    bool moved = false;
    bool other_expert = false;
    std::int64_t last = -1;
    for (std::size_t i = 0; i < known_.size(); ++i) {
        const FoundLine& line = known_[i];
        if (!line.is_known) continue;
        twice = !seen.emplace(line.param, line.line).second || twice;
        const std::optional<std::int64_t> position =
            line.param == planned_->param || line.param == partner_ ? position_of(line.line) : std::nullopt;
        if (!position) continue;
        const bool stays = lines_.is_aligned ? lines_.planned_at[i] == *position : *position > last;
        last = *position;
        if (stays) continue;
        moved = true;
        if (!is_routed_expert(parameter_->role) || !lines_.is_aligned) continue;
        const std::int64_t of_shard = planned_->shape[1];
        other_expert = other_expert || lines_.planned_at[i] / of_shard != *position / of_shard;
    }
    const std::int64_t planned_lines = planned_->lines.size();
    const bool lacks = std::ssize(seen) < planned_lines;
    if (twice && lacks) fits(Kind::duplicated);
    if (moved && !twice && !is(Kind::wrong_expert) && !is(Kind::wrong_rank)) {
        is_in_other_order_ = true;
        fits(other_expert ? Kind::wrong_expert : Kind::corrupt);
    }
}

// Shorter lines that begin or end as the planned ones do.
bool ShardVerdict::has_columns_cut_off() {
    const std::int64_t width = lines_.found.width;
    const std::int64_t planned_width = planned_->lines.width;
    if (width >= planned_width || lines_.found.size() > planned_->lines.size() || num_elements(found_->shape) == 0)
        return false;
    // Rows may be missing as well, the last ones of each matrix, or of all.
    const Shape& ours = planned_->shape;
    const Shape& theirs = found_->shape;
    if (theirs.size() != ours.size()) return false;
    for (std::size_t dim = 0; dim < ours.size(); ++dim) {
        if (theirs[dim] > ours[dim]) return false;
    }
    const std::int64_t rows = ours.size() >= 2 ? ours[ours.size() - 2] : 1;
    const std::int64_t their_rows = ours.size() >= 2 ? theirs[theirs.size() - 2] : 1;
    for (const std::int64_t begin : {std::int64_t{0}, planned_width - width}) {
        bool all = true;
        for (std::int64_t i = 0; i < lines_.found.size() && all; ++i) {
            const std::int64_t at = i / their_rows * rows + i % their_rows;
            all = std::ranges::equal(
                lines_.found.line(i),
                planned_->lines.line(at).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(width)));
        }
        if (!all) continue;
        columns_missing_ = planned_width - width;
        difference_.count = num_elements(ours) - num_elements(theirs);
        place_first(0, begin == 0 ? width : 0);
        return true;
    }
    return false;
}

void ShardVerdict::judge_length() {
    if (lines_.is_aligned) return;
    if (has_columns_cut_off()) {
        kinds_ = {Kind::truncated};
        for (LineState& state : lines_.states) state = LineState::right;
        return;
    }
    const std::int64_t num_found = num_elements(found_->shape) == 0 ? 0 : lines_.found.size();
    const std::int64_t num_planned = num_elements(planned_->shape) == 0 ? 0 : planned_->lines.size();
    const bool same_width = lines_.found.width == planned_->lines.width || num_found == 0;
    const bool foreign = is(Kind::wrong_expert) || is(Kind::wrong_rank) || is(Kind::swapped_gate_up) ||
                         is(Kind::corrupt) || is(Kind::duplicated) || is_other_matrix_;
    const auto unknown = lines_.count(LineState::unknown);
    if (same_width && num_found < num_planned && !foreign && unknown == 0) {
        fits(Kind::truncated);
        return;
    }
    // Right as far as planned, and then nothing but blanks.
    bool right = same_width && num_found > num_planned && num_planned > 0;
    for (std::int64_t i = 0; right && i < num_found; ++i) {
        const FoundLine& line = known_[static_cast<std::size_t>(i)];
        const LineState state = lines_.states[static_cast<std::size_t>(i)];
        if (i < num_planned) {
            right = line.is_known && line.param == planned_->param && position_of(line.line) == i;
        } else {
            right = state == LineState::zeros || state == LineState::nans || state == LineState::constant;
        }
    }
    has_surplus_ = right;
    if (!right && kinds_.empty()) fits(Kind::corrupt);
}

void ShardVerdict::judge_values() {
    const auto has = [&](LineState state) { return lines_.count(state) > 0; };
    if (has(LineState::zeros) || has(LineState::nans) || has(LineState::constant) || has(LineState::blank_in_part))
        fits(Kind::not_loaded);
    if (has(LineState::rounded) || (lines_.narrow && !lines_.is_aligned) ||
        (lines_.narrow && has(LineState::placed) && !has(LineState::rounded)))
        fits(Kind::rounded);
    if (has(LineState::damaged) || has(LineState::unknown) || is_other_matrix_) fits(Kind::corrupt);
}

}  // namespace shardproof::verify
