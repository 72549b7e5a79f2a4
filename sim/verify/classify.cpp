#include "sim/verify/classify.hpp"

#include <algorithm>
#include <limits>

#include "oracle/model/error.hpp"

namespace shardproof::verify {
namespace {

constexpr std::size_t kIndexEntriesMax = std::size_t{1} << 23U;
constexpr std::int64_t kLinesTried = 64;     // for a dtype that explains them
constexpr std::int64_t kRoundedMin = 3;      // elements: fewer are as well a chance
constexpr std::int64_t kConstantMin = 4;     // elements of one value that is neither zero nor NaN

bool is_blank(Value value) { return is_zero(value) || value == kNan; }

struct Wrongs {
    std::int64_t all = 0;
    std::int64_t zeros_or_nans = 0;
    bool are_one_value = true;
};
Wrongs wrongs_of(std::span<const Value> found, std::span<const Value> planned) {
    Wrongs wrongs;
    std::optional<Value> first;
    for (std::size_t i = 0; i < found.size(); ++i) {
        if (found[i] == planned[i]) continue;
        ++wrongs.all;
        wrongs.zeros_or_nans += is_blank(found[i]) ? 1 : 0;
        if (!first) first = found[i];
        wrongs.are_one_value = wrongs.are_one_value && found[i] == *first;
    }
    return wrongs;
}

bool is_rounded_line(const Narrow& narrow, std::span<const Value> planned, std::span<const Value> found) {
    for (std::size_t i = 0; i < found.size(); ++i) {
        if (found[i] != planned[i] && !is_rounded(narrow, planned[i], found[i])) return false;
        // What stayed as it was must be a value of the narrow dtype: else it did not pass through.
        if (found[i] == planned[i] && rounded(narrow, planned[i]) != planned[i]) return false;
    }
    return true;
}

class Classifier {
public:
    Classifier(const Plan& plan, const PlannedShard& planned, const FoundShard& found)
        : plan_{&plan}, planned_{&planned}, found_{&found} {}

    // Lines of `view`; those not explained by what is planned are placed by `lookup`.
    ShardLines run(View view, const Lookup& lookup, const LineArray& expected) {
        lines_ = {};
        lines_.view = view;
        read(view);
        align();
        lines_.states.assign(static_cast<std::size_t>(lines_.found.size()), LineState::unknown);
        lines_.wrong.assign(lines_.states.size(), 0);
        expected_ = &expected;
        find_right_ones();
        find_narrow();
        find_blanks();
        place(lookup);
        return std::move(lines_);
    }

private:
    [[nodiscard]] std::span<const Value> expected_at(std::int64_t i) const {
        return expected_->line(lines_.planned_at[static_cast<std::size_t>(i)]);
    }
    [[nodiscard]] LineState& state(std::int64_t i) { return lines_.states[static_cast<std::size_t>(i)]; }

    void read(View view) {
        lines_.found.width = std::max<std::int64_t>(1, line_length(found_->shape));
        lines_.found.values.resize(static_cast<std::size_t>(num_elements(found_->shape)));
        read_values(found_->dtype, found_->bytes, lines_.found.values);
        if (view == View::transposed || view == View::read_transposed)
            lines_.found.values = put_right(view, lines_.found.values, found_->shape);
    }

    // The same shape, or whole experts of it, each in a tensor with its name.
    void align() {
        const std::int64_t num = lines_.found.size();
        if (found_->shape == planned_->shape) {
            lines_.is_aligned = true;
            for (std::int64_t i = 0; i < num; ++i) lines_.planned_at.push_back(i);
            return;
        }
        const Shape& ours = planned_->shape;
        const Shape& theirs = found_->shape;
        const bool by_name = !found_->absent_experts.empty() && found_->more_experts.empty() && ours.size() == 3 &&
                             ours[1] == theirs[1] && ours[2] == theirs[2];
        if (!by_name) return;
        std::vector<std::int64_t> slots;
        std::int64_t slot = 0;
        for (const Run& run : planned_->index.front()) {
            for (std::int64_t expert = run.begin; expert < run.end; ++expert, ++slot) {
                if (std::ranges::find(found_->named_experts, expert) != found_->named_experts.end())
                    slots.push_back(slot);
            }
        }
        if (std::ssize(slots) != theirs[0]) return;
        lines_.is_aligned = true;
        for (const std::int64_t s : slots) {
            for (std::int64_t row = 0; row < ours[1]; ++row) lines_.planned_at.push_back(s * ours[1] + row);
        }
    }

    void find_right_ones() {
        if (!lines_.is_aligned) return;
        for (std::int64_t i = 0; i < lines_.found.size(); ++i) {
            const std::int64_t wrong = lines_.found.width - num_equal(lines_.found.line(i), expected_at(i));
            lines_.wrong[static_cast<std::size_t>(i)] = wrong;
            if (wrong == 0) state(i) = LineState::right;
        }
    }

    // The dtype that explains most of some wrong lines; two that explain as many are both named.
    void find_narrow() {
        if (!lines_.is_aligned) return;
        std::vector<std::int64_t> tried;
        std::int64_t wrong = 0;
        for (std::int64_t i = 0; i < lines_.found.size() && std::ssize(tried) < kLinesTried; ++i) {
            if (state(i) == LineState::right || is_constant(lines_.found.line(i))) continue;
            tried.push_back(i);
            wrong += lines_.wrong[static_cast<std::size_t>(i)];
        }
        std::int64_t most = 0;
        for (const Narrow& narrow : narrower_than(plan_->params[planned_->param].dtype)) {
            const bool is_declared = found_->dtype == narrow.dtype;
            if (wrong < kRoundedMin && !is_declared) continue;
            const auto explained = std::ranges::count_if(
                tried, [&](std::int64_t i) { return is_rounded_line(narrow, expected_at(i), lines_.found.line(i)); });
            if (explained > most) {
                most = explained;
                lines_.narrow = narrow;
                lines_.narrow_or_else.clear();
            } else if (explained == most && most > 0) {
                lines_.narrow_or_else.push_back(narrow.dtype);
            }
        }
    }

    // What needs no look elsewhere: blanks, rounded and damaged lines.
    void find_blanks() {
        for (std::int64_t i = 0; i < lines_.found.size(); ++i) {
            if (state(i) == LineState::right) continue;
            const std::span<const Value> line = lines_.found.line(i);
            const bool aligned = lines_.is_aligned;
            if (aligned && lines_.narrow && is_rounded_line(*lines_.narrow, expected_at(i), line)) {
                state(i) = LineState::rounded;
            } else if (is_constant(line) && is_blank(line.front())) {
                state(i) = line.front() == kNan ? LineState::nans : LineState::zeros;
            } else if (is_constant(line) && lines_.found.width >= kConstantMin) {
                state(i) = LineState::constant;
            } else if (aligned) {
                const Wrongs wrongs = wrongs_of(line, expected_at(i));
                const bool one_value = wrongs.are_one_value && wrongs.all >= kConstantMin;
                if (wrongs.zeros_or_nans == wrongs.all || one_value) {
                    state(i) = LineState::blank_in_part;
                } else if (2 * wrongs.all <= lines_.found.width) {
                    state(i) = LineState::damaged;
                }
            }
        }
    }

    // Blanks lie open too: a run may go over lines of the checkpoint that are constant themselves.
    void place(const Lookup& lookup) {
        std::vector<bool> open(lines_.states.size());
        for (std::size_t i = 0; i < open.size(); ++i) {
            const LineState s = lines_.states[i];
            open[i] =
                s == LineState::unknown || s == LineState::zeros || s == LineState::nans || s == LineState::constant;
        }
        lines_.runs = place_lines(lines_.found, open, lookup);
        for (const PlacedRun& run : lines_.runs) {
            for (std::int64_t i = run.begin; i < run.begin + run.count; ++i) state(i) = LineState::placed;
        }
    }

    const Plan* plan_;
    const PlannedShard* planned_;
    const FoundShard* found_;
    const LineArray* expected_ = nullptr;
    ShardLines lines_;
};

std::int64_t num_equal_lines(std::span<const Value> a, std::span<const Value> b, std::int64_t width) {
    std::int64_t count = 0;
    const auto step = static_cast<std::size_t>(width);
    for (std::size_t at = 0; at < a.size(); at += step)
        count += std::ranges::equal(a.subspan(at, step), b.subspan(at, step)) ? 1 : 0;
    return count;
}

// The view in which most lines are the planned ones, where that is more than half of them.
View view_of_planned(const PlannedShard& planned, const FoundShard& found, const std::vector<Value>& cut_transposed) {
    if (found.shape != planned.shape || planned.shape.size() < 2 || planned.lines.values.empty()) return View::as_is;
    std::vector<Value> values(planned.lines.values.size());
    read_values(found.dtype, found.bytes, values);
    const std::int64_t width = planned.lines.width;
    std::int64_t most = num_equal_lines(values, planned.lines.values, width);
    View best = View::as_is;
    const auto consider = [&](View view, std::int64_t equal) {
        if (equal <= most || 2 * equal <= planned.lines.size()) return;
        most = equal;
        best = view;
    };
    for (const View view : {View::transposed, View::read_transposed}) {
        if (2 * most > planned.lines.size()) break;
        consider(view, num_equal_lines(put_right(view, values, planned.shape), planned.lines.values, width));
    }
    if (!cut_transposed.empty()) consider(View::cut_transposed, num_equal_lines(values, cut_transposed, width));
    return best;
}

std::int64_t num_explained(const ShardLines& lines) {
    return static_cast<std::int64_t>(lines.states.size()) - lines.count(LineState::unknown);
}

// A dtype all of whose values the unknown lines have, so that they may have passed through it.
std::optional<Narrow> narrow_of_unknown(const ShardLines& lines, DType from) {
    for (const Narrow& narrow : narrower_than(from)) {
        std::int64_t tried = 0;
        bool all = true;
        for (std::int64_t i = 0; i < lines.found.size() && tried < kLinesTried && all; ++i) {
            if (lines.states[static_cast<std::size_t>(i)] != LineState::unknown) continue;
            ++tried;
            all = std::ranges::all_of(lines.found.line(i), [&](Value v) { return rounded(narrow, v) == v; });
        }
        // BF16 values are all but F16's: only what loses much is told from chance.
        if (all && tried > 0 && narrow.fraction_bits <= 3) return narrow;
    }
    return std::nullopt;
}

}  // namespace

const ContentIndex& Indices::made(std::optional<Narrow> narrow) {
    const std::optional<DType> key = narrow ? std::optional{narrow->dtype} : std::nullopt;
    for (const auto& [dtype, index] : made_) {
        if (dtype == key) return *index;
    }
    made_.emplace_back(key, std::make_unique<ContentIndex>(*plan_, reader_, *cuts_, narrow, kIndexEntriesMax));
    return *made_.back().second;
}

PlannedShard planned_shard(const Plan& plan, const LineReader& reader, const ColumnCuts& cuts, std::size_t param,
                           Rank rank) {
    PlannedShard planned;
    planned.param = param;
    planned.rank = rank;
    planned.index = shard_of(plan, param, rank);
    planned.shape = local_shape(planned.index);
    planned.held = held_by(plan, param, planned.index);
    const auto cut = std::ranges::find(cuts[param], planned.index.back());
    planned.cut = cut == cuts[param].end() ? std::numeric_limits<std::size_t>::max()
                                           : static_cast<std::size_t>(cut - cuts[param].begin());
    planned.lines.width = std::max<std::int64_t>(1, line_length(planned.shape));
    if (num_elements(planned.shape) > 0) planned.lines.values = reader.read(param, planned.index);
    return planned;
}

std::int64_t ShardLines::count(LineState state) const { return std::ranges::count(states, state); }

ShardLines classify(const Lookup& own, const LineReader& reader, const ColumnCuts& cuts, const Plan& plan,
                    const PlannedShard& planned, const FoundShard& found, Indices* indices) {
    const Parameter& parameter = plan.params[planned.param].parameter;
    const std::vector<Value> cut_transposed = cut_of_transposed(reader, parameter, planned.param, planned.index);
    const View view = view_of_planned(planned, found, cut_transposed);
    LineArray expected = planned.lines;
    if (view == View::cut_transposed) expected.values = cut_transposed;
    Classifier classifier(plan, planned, found);
    ShardLines best = classifier.run(view, own, expected);
    if (indices == nullptr || best.count(LineState::unknown) == 0) return best;

    Lookup everywhere(reader, cuts, &indices->plain());
    if (planned.cut < cuts[planned.param].size()) everywhere.add_own(planned.lines, planned.held, planned.cut);
    best = classifier.run(view, everywhere, expected);
    const auto is_mostly_unknown = [&] { return 2 * num_explained(best) < std::ssize(best.states); };
    if (is_mostly_unknown() && found.shape.size() >= 2) {
        for (const View other : {View::transposed, View::read_transposed}) {
            ShardLines lines = classifier.run(other, everywhere, expected);
            if (num_explained(lines) > num_explained(best) && 2 * num_explained(lines) > std::ssize(lines.states))
                best = std::move(lines);
        }
    }
    if (is_mostly_unknown()) {
        if (const auto narrow = narrow_of_unknown(best, plan.params[planned.param].dtype)) {
            const Lookup through(reader, cuts, &indices->through(*narrow));
            ShardLines lines = classifier.run(view, through, expected);
            if (num_explained(lines) > num_explained(best)) {
                best = std::move(lines);
                best.narrow = *narrow;
            }
        }
    }
    return best;
}

}  // namespace shardproof::verify
