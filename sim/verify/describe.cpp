#include "sim/verify/describe.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace shardproof::verify {
namespace {

constexpr std::size_t kRunsShown = 6;

std::string run_in_words(Run run) {
    return run.size() == 1 ? std::to_string(run.begin) : fmt::format("{}..{}", run.begin, run.end - 1);
}

std::string runs_in_words(const IndexRuns& runs) {
    std::string text;
    for (std::size_t i = 0; i < runs.size(); ++i) {
        if (i == kRunsShown) return text + fmt::format(", and {} more runs", runs.size() - i);
        text += (i > 0 ? ", " : "") + run_in_words(runs[i]);
    }
    return text;
}

std::string named_runs(std::string_view what, const IndexRuns& runs) {
    if (num_indices(runs) == 0) return fmt::format("no {}s", what);
    return fmt::format("{}{} {}", what, num_indices(runs) == 1 ? "" : "s", runs_in_words(runs));
}

bool is_all(const IndexRuns& runs, std::int64_t extent) { return runs.size() == 1 && runs.front() == Run{0, extent}; }

// Experts are always named; of other dims those that are cut.
std::string in_words(const Parameter& parameter, const std::vector<IndexRuns>& index) {
    const bool stacked = is_routed_expert(parameter.role);
    std::string text;
    for (std::size_t dim = 0; dim < index.size(); ++dim) {
        const bool is_expert = stacked && dim == 0;
        if (!is_expert && is_all(index[dim], parameter.shape[dim])) continue;
        const bool is_last = dim + 1 == index.size() && index.size() > 1;
        if (!text.empty()) text += ", ";
        text += named_runs(is_expert           ? "expert"
                           : is_last           ? "column"
                           : index.size() == 1 ? "element"
                                               : "row",
                           index[dim]);
    }
    return text.empty() ? "all of it" : text;
}

}  // namespace

std::string counted(std::string_view what, const std::vector<std::int64_t>& numbers) {
    IndexRuns runs;
    for (const std::int64_t number : numbers) append_run(runs, {number, number + 1});
    return named_runs(what, runs);
}

std::string index_in_words(const Parameter& parameter, const std::vector<IndexRuns>& index) {
    return in_words(parameter, index);
}

std::string lines_in_words(const Parameter& parameter, const std::vector<LineRun>& lines, const IndexRuns& columns) {
    if (parameter.shape.size() == 1) return in_words(parameter, {columns});
    IndexRuns rows;
    for (const LineRun& run : lines) append_run(rows, {run.first, run.first + run.count});
    if (parameter.shape.size() == 2) return in_words(parameter, {rows, columns});
    // Of stacked matrices: experts in the order they come, and the rows that each has, where these are the same.
    const std::int64_t of_expert = parameter.shape[1];
    std::vector<std::pair<std::int64_t, IndexRuns>> experts;
    for (const Run& run : rows) {
        for (std::int64_t at = run.begin; at < run.end;) {
            const std::int64_t expert = at / of_expert;
            const std::int64_t end = std::min(run.end, (expert + 1) * of_expert);
            const Run part{at - expert * of_expert, end - expert * of_expert};
            const bool goes_on = !experts.empty() && experts.back().first == expert && part.begin > 0;
            if (!goes_on) experts.emplace_back(expert, IndexRuns{});
            append_run(experts.back().second, part);
            at = end;
        }
    }
    IndexRuns numbers;
    bool alike = true;
    for (const auto& [expert, of_it] : experts) {
        append_run(numbers, {expert, expert + 1});
        alike = alike && of_it == experts.front().second;
    }
    if (!alike) return named_runs("expert", numbers) + ", not the same rows of each";
    return in_words(parameter, {numbers, experts.empty() ? IndexRuns{} : experts.front().second, columns});
}

}  // namespace shardproof::verify
