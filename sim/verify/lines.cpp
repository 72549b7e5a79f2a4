#include "sim/verify/lines.hpp"

#include <algorithm>

#include "oracle/model/error.hpp"

namespace shardproof::verify {

void append_lines(std::vector<LineRun>& runs, LineRun run) {
    if (run.count == 0) return;
    if (!runs.empty() && runs.back().param == run.param && runs.back().first + runs.back().count == run.first) {
        runs.back().count += run.count;
    } else {
        runs.push_back(run);
    }
}

std::int64_t Held::num_lines() const {
    std::int64_t count = 0;
    for (const LineRun& run : lines) count += run.count;
    return count;
}

std::int64_t num_lines(const Shape& shape) {
    std::int64_t count = 1;
    for (std::size_t dim = 0; dim + 1 < shape.size(); ++dim) count *= shape[dim];
    return count;
}

std::int64_t line_length(const Shape& shape) { return shape.empty() ? 1 : shape.back(); }

std::int64_t lines_of_expert(const Parameter& parameter) {
    const std::int64_t lines = num_lines(parameter.shape);
    return is_routed_expert(parameter.role) ? lines / parameter.shape.front() : lines;
}

namespace {

// Every index of the leading dims, the last of them as runs.
void append_leading(std::vector<LineRun>& lines, std::size_t param, const Shape& shape,
                    const std::vector<IndexRuns>& index, std::size_t dim, std::int64_t before) {
    if (dim + 1 == shape.size()) return append_lines(lines, {param, before, 1});
    for (const Run& run : index[dim]) {
        if (dim + 2 == shape.size()) {
            append_lines(lines, {param, before * shape[dim] + run.begin, run.size()});
            continue;
        }
        for (std::int64_t i = run.begin; i < run.end; ++i)
            append_leading(lines, param, shape, index, dim + 1, before * shape[dim] + i);
    }
}

}  // namespace

Held held_by(const Plan& plan, std::size_t param, const std::vector<IndexRuns>& index) {
    const Shape& shape = plan.params.at(param).parameter.shape;
    SP_ASSERT(index.size() == shape.size() && !shape.empty());
    Held held;
    held.columns = index.back();
    const bool is_empty = std::ranges::any_of(index, [](const IndexRuns& runs) { return num_indices(runs) == 0; });
    if (!is_empty) append_leading(held.lines, param, shape, index, 0, 0);
    return held;
}

std::vector<Value> LineReader::read(std::size_t param, const std::vector<IndexRuns>& index) const {
    const ParamPlan& planned = plan_->params.at(param);
    const LoadPlan load_plan = make_load_plan(planned.parameter, planned.dtype, index);
    std::vector<std::byte> bytes(static_cast<std::size_t>(load_plan.shard_bytes()));
    load(load_plan, *checkpoint_, bytes);
    std::vector<Value> values(static_cast<std::size_t>(num_elements(load_plan.shape)));
    read_values(planned.dtype, bytes, values);
    return values;
}

std::vector<Value> LineReader::read_some(std::size_t param, std::int64_t first, std::int64_t count,
                                         const IndexRuns& columns) const {
    const std::int64_t all = num_lines(plan_->params.at(param).parameter.shape);
    if (first >= all) return {};
    return read(param, first, std::min(count, all - first), columns);
}

std::vector<Value> LineReader::read(std::size_t param, std::int64_t first, std::int64_t count,
                                    const IndexRuns& columns) const {
    const Shape& shape = plan_->params.at(param).parameter.shape;
    if (shape.size() == 1) return read(param, {columns});
    SP_ASSERT(shape.size() <= 3);
    if (shape.size() == 2) return read(param, {{{first, first + count}}, columns});
    std::vector<Value> all;
    while (count > 0) {  // a range of lines is a box of each leading index only
        const std::int64_t outer = first / shape[1];
        const std::int64_t inner = first % shape[1];
        std::int64_t outer_count = 1;
        std::int64_t inner_count = std::min(count, shape[1] - inner);
        if (inner == 0 && count >= shape[1]) {
            outer_count = count / shape[1];
            inner_count = shape[1];
        }
        const std::vector<Value> part =
            read(param, {{{outer, outer + outer_count}}, {{inner, inner + inner_count}}, columns});
        all.insert(all.end(), part.begin(), part.end());
        first += outer_count * inner_count;
        count -= outer_count * inner_count;
    }
    return all;
}

}  // namespace shardproof::verify
