// The sentences of ShardVerdict.
#include <fmt/format.h>

#include <algorithm>

#include "oracle/model/error.hpp"
#include "sim/verify/describe.hpp"
#include "sim/verify/verdict_of_shard.hpp"

namespace shardproof::verify {
namespace {

constexpr std::size_t kPiecesShown = 4;
constexpr std::size_t kOthersShown = 3;

void add_sentence(std::string& text, const std::string& more) {
    if (more.empty()) return;
    if (!text.empty()) text += "; ";
    text += more;
}

}  // namespace

std::string ShardVerdict::expected_in_words() const {
    if (num_elements(planned_->shape) == 0) return "nothing";
    const std::string held = index_in_words(*parameter_, planned_->index);
    if (is_routed_expert(parameter_->role)) return held;
    return fmt::format("{} (rank {}'s shard)", held, planned_->rank.value());
}

// Where the known lines come from, piece by piece.
std::string ShardVerdict::pieces_in_words() const {
    struct Piece {
        std::size_t param;
        std::size_t cut;
        std::vector<LineRun> lines;
    };
    std::vector<Piece> pieces;
    for (const FoundLine& line : known_) {
        if (!line.is_known) continue;
        if (pieces.empty() || pieces.back().param != line.param || pieces.back().cut != line.cut)
            pieces.push_back({line.param, line.cut, {}});
        append_lines(pieces.back().lines, {line.param, line.line, 1});
    }
    std::string text;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        if (i == kPiecesShown) return text + fmt::format("; and {} more pieces", pieces.size() - i);
        const Parameter& parameter = plan_->params[pieces[i].param].parameter;
        std::string held = lines_in_words(parameter, pieces[i].lines, (*cuts_)[pieces[i].param][pieces[i].cut]);
        if (pieces[i].param != planned_->param) held = parameter.name + ", " + held;
        add_sentence(text, held);
    }
    return text;
}

std::string ShardVerdict::blanks_in_words() const {
    std::string what;
    const auto add = [&](LineState state, const char* word) {
        if (lines_.count(state) == 0) return;
        what += what.empty() ? word : fmt::format(" and {}", word);
    };
    add(LineState::zeros, "zeros");
    add(LineState::nans, "NaN");
    add(LineState::constant, "one constant");
    if (what.empty()) {
        for (std::int64_t i = 0; i < lines_.found.size(); ++i) {
            if (lines_.states[static_cast<std::size_t>(i)] != LineState::blank_in_part) continue;
            const auto found = lines_.found.line(i);
            const auto planned = planned_->lines.line(lines_.planned_at[static_cast<std::size_t>(i)]);
            const auto differs = std::ranges::mismatch(found, planned).in1;
            what = *differs == kNan ? "NaN" : is_zero(*differs) ? "zeros" : "one constant";
            break;
        }
    }
    if (has_surplus_) {
        return fmt::format("{} lines of {} after the planned ones: padding kept as data",
                           lines_.found.size() - planned_->lines.size(), what);
    }
    const auto blank =
        lines_.count(LineState::zeros) + lines_.count(LineState::nans) + lines_.count(LineState::constant);
    return blank == lines_.found.size() ? what : what + " in part";
}

std::string ShardVerdict::found_in_words() {
    std::string text;
    if (difference_.content.is_under_other_names) {
        return fmt::format("{}, in tensors named for {}", counted("expert", difference_.found_experts),
                           counted("expert", found_->named_experts));
    }
    if (is(Kind::missing)) {
        text = found_->absent_experts.empty() ? fmt::format("{} is not there", printable(found_->absent.front()))
                                              : fmt::format("{} not there", counted("expert", found_->absent_experts));
    }
    if (is(Kind::truncated)) {
        add_sentence(text, fmt::format("shape {} instead of {}", to_string(found_->shape), to_string(planned_->shape)));
    }
    if (found_->reshaped) {
        add_sentence(text,
                     fmt::format("shape {} instead of {}", to_string(*found_->reshaped), to_string(planned_->shape)));
    }
    const bool elsewhere = is(Kind::swapped_gate_up) || is(Kind::wrong_expert) || is(Kind::wrong_rank) ||
                           is(Kind::duplicated) || is_other_matrix_ || is_in_other_order_ ||
                           (is(Kind::truncated) && columns_missing_ == 0 && !known_.empty());
    if (elsewhere) {
        std::string where = pieces_in_words();
        if (difference_.found_rank) where += fmt::format(" (rank {}'s shard)", difference_.found_rank->value());
        add_sentence(text, where);
    }
    if (is(Kind::transposed)) {
        add_sentence(text, lines_.view == View::cut_transposed ? "transposed before it was cut"
                           : elsewhere                         ? "transposed"
                                                               : "the planned values, transposed");
    }
    if (is_in_other_order_) add_sentence(text, "in another order than planned");
    if (is(Kind::not_loaded)) add_sentence(text, blanks_in_words());
    if (is(Kind::rounded) && lines_.narrow) {
        const DType own = plan_->params[planned_->param].dtype;
        difference_.dtype_path = fmt::format("{}>{}", name_of(own), name_of(lines_.narrow->dtype));
        if (found_->dtype != lines_.narrow->dtype) difference_.dtype_path += fmt::format(">{}", name_of(found_->dtype));
        std::string how = fmt::format("values that went through {}", name_of(lines_.narrow->dtype));
        for (const DType other : lines_.narrow_or_else) how += fmt::format(" or {}", name_of(other));
        add_sentence(text, how);
    }
    const auto damaged = lines_.count(LineState::damaged);
    const auto unknown = lines_.count(LineState::unknown);
    if (damaged > 0) add_sentence(text, fmt::format("elements differ in {} of {} lines", damaged, lines_.found.size()));
    if (unknown > 0) {
        add_sentence(text, unknown == lines_.found.size() ? "values that are not in this checkpoint"
                                                          : fmt::format("{} of {} lines are not in this checkpoint",
                                                                        unknown, lines_.found.size()));
    }
    if (!elsewhere_.empty() && elsewhere) {
        std::string others;
        std::size_t shown = 0;
        for (const std::string& other : elsewhere_) {
            if (shown++ == kOthersShown) break;
            others += others.empty() ? other : " and in " + other;
        }
        if (elsewhere_.size() > kOthersShown) others += fmt::format(" and {} more", elsewhere_.size() - kOthersShown);
        add_sentence(text, "ambiguous: the same values are in " + others);
    }
    return text;
}

}  // namespace shardproof::verify
