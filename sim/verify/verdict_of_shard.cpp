#include "sim/verify/verdict_of_shard.hpp"

#include <algorithm>

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
