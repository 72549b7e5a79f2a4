// Lines: a parameter as lines along its last dim, numbered over the others. What a rank holds, what a rule would have
// it hold and what a dump has are all lines, cut to some columns.
#pragma once
#include <cstdint>
#include <vector>

#include "sim/plan/load_plan.hpp"
#include "sim/plan/plan.hpp"
#include "sim/verify/values.hpp"

namespace shardproof::verify {

// `count` lines of one parameter, of ascending numbers. A vector is one line.
struct LineRun {
    std::size_t param = 0;
    std::int64_t first = 0;
    std::int64_t count = 0;
    bool operator==(const LineRun&) const = default;
};
void append_lines(std::vector<LineRun>& runs, LineRun run);  // to the last one where it goes on from there

struct Held {
    std::vector<LineRun> lines;  // in storage order
    IndexRuns columns;           // of every line
    [[nodiscard]] std::int64_t num_lines() const;
    bool operator==(const Held&) const = default;
};
[[nodiscard]] Held held_by(const Plan& plan, std::size_t param, const std::vector<IndexRuns>& index);

[[nodiscard]] std::int64_t num_lines(const Shape& shape);       // of a whole parameter, or a shard
[[nodiscard]] std::int64_t line_length(const Shape& shape);     // elements
// Lines of one expert of a stacked parameter; of others all.
[[nodiscard]] std::int64_t lines_of_expert(const Parameter& parameter);

// Reads lines of the checkpoint as values.
class LineReader {
public:
    // Neither is owned.
    LineReader(const Plan& plan, const Checkpoint& checkpoint) : plan_{&plan}, checkpoint_{&checkpoint} {}
    // Lines [first, first + count) of a parameter, cut to `columns`.
    [[nodiscard]] std::vector<Value> read(std::size_t param, std::int64_t first, std::int64_t count,
                                          const IndexRuns& columns) const;
    // The same, as far as there are lines.
    [[nodiscard]] std::vector<Value> read_some(std::size_t param, std::int64_t first, std::int64_t count,
                                               const IndexRuns& columns) const;
    // A shard, as planned or otherwise.
    [[nodiscard]] std::vector<Value> read(std::size_t param, const std::vector<IndexRuns>& index) const;

private:
    const Plan* plan_;
    const Checkpoint* checkpoint_;
};

}  // namespace shardproof::verify
