#include "sim/verify/verdict_of_shard.hpp"

#include <algorithm>
#include <limits>

#include "oracle/model/error.hpp"
#include "sim/verify/describe.hpp"

namespace shardproof::verify {

std::vector<std::int64_t> global_coordinates(const std::vector<IndexRuns>& index, std::int64_t flat) {
    const Shape shape = local_shape(index);
    std::vector<std::int64_t> at(shape.size());
    for (std::size_t dim = shape.size(); dim-- > 0;) {
        std::int64_t local = flat % shape[dim];
        flat /= shape[dim];
        for (const Run& run : index[dim]) {
            if (local < run.size()) {
                at[dim] = run.begin + local;
                break;
            }
            local -= run.size();
        }
    }
    return at;
}

ShardVerdict::ShardVerdict(const Plan& plan, const ColumnCuts& cuts, const PlannedShard& planned,
                           const FoundShard& found, ShardLines lines, std::optional<std::size_t> partner,
                           Holders& holders)
    : plan_{&plan},
      cuts_{&cuts},
      planned_{&planned},
      found_{&found},
      lines_{std::move(lines)},
      partner_{partner},
      holders_{&holders},
      parameter_{&plan.params[planned.param].parameter} {
    std::int64_t position = 0;
    for (const LineRun& run : planned.held.lines) {
        own_.emplace_back(run, position);
        position += run.count;
    }
    std::ranges::sort(own_, {}, [](const auto& entry) { return entry.first.first; });
}

std::optional<std::int64_t> ShardVerdict::position_of(std::int64_t line) const {
    auto after = std::ranges::upper_bound(own_, line, {}, [](const auto& entry) { return entry.first.first; });
    if (after == own_.begin()) return std::nullopt;
    const auto& [run, position] = *--after;
    if (line >= run.first + run.count) return std::nullopt;
    return position + line - run.first;
}

// Of several places that hold the same: what is planned, then the same parameter, then its partner. The others are
// told, not chosen.
Origin ShardVerdict::likeliest(const PlacedRun& run) {
    const auto rank_of = [&](const Origin& origin) {
        if (origin.param == planned_->param) return origin.cut == planned_->cut && position_of(origin.line) ? 0 : 1;
        return partner_ == origin.param ? 2 : 3;
    };
    const Origin best = *std::ranges::min_element(run.origins, {}, rank_of);
    for (const Origin& origin : run.origins) {
        if (origin == best) continue;
        const Parameter& other = plan_->params[origin.param].parameter;
        const LineRun there{origin.param, origin.line, run.count};
        elsewhere_.insert(other.name + " " + lines_in_words(other, {there}, (*cuts_)[origin.param][origin.cut]));
        if (origin.param == best.param && rank_of(origin) == rank_of(best)) experts_are_ambiguous_ = true;
    }
    return best;
}

void ShardVerdict::know_lines() {
    known_.resize(lines_.states.size());
    std::vector<std::int64_t> numbers;
    for (const LineRun& run : planned_->held.lines) {
        for (std::int64_t i = 0; i < run.count; ++i) numbers.push_back(run.first + i);
    }
    for (std::size_t i = 0; i < known_.size(); ++i) {
        const LineState state = lines_.states[i];
        if (state != LineState::right && state != LineState::rounded && state != LineState::damaged &&
            state != LineState::blank_in_part)
            continue;
        const auto at = static_cast<std::size_t>(lines_.planned_at[i]);
        known_[i] = {true, planned_->param, numbers[at], planned_->cut};
    }
    for (const PlacedRun& run : lines_.runs) {
        const Origin origin = likeliest(run);
        for (std::int64_t i = 0; i < run.count; ++i)
            known_[static_cast<std::size_t>(run.begin + i)] = {true, origin.param, origin.line + i, origin.cut};
    }
}

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
    const std::int64_t of_expert = lines_of_expert(*parameter_);
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
    (void)of_expert;
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
    const std::int64_t of_expert = lines_of_expert(*parameter_);
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
    (void)of_expert;
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

void ShardVerdict::set_kind() {
    SP_ASSERT(!kinds_.empty());
    difference_.kind = *kinds_.begin();
    difference_.also.assign(std::next(kinds_.begin()), kinds_.end());
}

void ShardVerdict::set_content() {
    Content& content = difference_.content;
    content.is_transposed = lines_.view != View::as_is || found_->is_turned;
    content.has_surplus = has_surplus_;
    std::optional<std::size_t> cut;
    for (std::size_t i = 0; i < known_.size(); ++i) {
        const FoundLine& line = known_[i];
        SeenRun run{Seen::unknown, {0, 0, 1}};
        if (line.is_known) {
            const IndexRuns& columns = (*cuts_)[line.param][line.cut];
            if (cut && columns != content.columns) content.has_mixed_columns = true;
            if (!cut) content.columns = columns;
            cut = line.cut;
            run = {Seen::placed, {line.param, line.line, 1}};
        } else if (lines_.states[i] == LineState::zeros) {
            run.seen = Seen::zeros;
        } else if (lines_.states[i] == LineState::nans) {
            run.seen = Seen::nans;
        } else if (lines_.states[i] == LineState::constant) {
            run.seen = Seen::constant;
        }
        SeenRun* const last = content.runs.empty() ? nullptr : &content.runs.back();
        const bool goes_on = last != nullptr && last->seen == run.seen &&
                             (run.seen != Seen::placed || (last->lines.param == run.lines.param &&
                                                           last->lines.first + last->lines.count == run.lines.first));
        if (goes_on) {
            ++last->lines.count;
        } else {
            content.runs.push_back(run);
        }
    }
}

std::optional<Difference> ShardVerdict::difference() {
    difference_.rank = planned_->rank;
    difference_.param = parameter_->name;
    difference_.param_idx = planned_->param;
    difference_.expected = expected_in_words();
    const bool lacks = !found_->absent.empty();
    const bool is_readable_shard = found_->is_there && found_->trouble.empty();
    if (!is_readable_shard) {
        if (!found_->is_there && planned_->lines.values.empty()) return std::nullopt;
        fits(found_->is_there ? Kind::corrupt : Kind::missing);
        difference_.count = std::max<std::int64_t>(num_elements(planned_->shape), 0);
        place_first(0, 0);
        difference_.found = found_->is_there ? found_->trouble : "nothing";
        set_kind();
        return std::move(difference_);
    }
    know_lines();
    judge_experts_and_ranks();
    judge_order();
    judge_length();
    judge_values();
    if (lines_.view != View::as_is || (found_->is_turned && lines_.view == View::as_is)) fits(Kind::transposed);
    const bool is_all_there = lines_.is_aligned && lines_.count(LineState::right) == std::ssize(lines_.states);
    const bool is_under_other_names = lacks && !found_->more_experts.empty() && is_all_there;
    if (lacks && (found_->more_experts.empty() || is_under_other_names)) {
        std::erase_if(kinds_, [](Kind kind) { return kind == Kind::truncated; });
        fits(Kind::missing);
    }
    if (found_->reshaped && kinds_.empty()) fits(Kind::corrupt);
    if (kinds_.empty()) return std::nullopt;
    difference_.content.is_under_other_names = is_under_other_names;
    count_wrong();
    if (is_under_other_names) difference_.count = num_elements(planned_->shape);
    find_experts();
    if (is(Kind::wrong_expert) || is(Kind::wrong_rank) || is(Kind::swapped_gate_up)) find_rank();
    set_kind();
    set_content();
    difference_.found = found_in_words();
    return std::move(difference_);
}

}  // namespace shardproof::verify
