// Line by line: what a dump's shard holds, held against what it should.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "sim/verify/found_shard.hpp"
#include "sim/verify/locate.hpp"
#include "sim/verify/narrow.hpp"
#include "sim/verify/views.hpp"

namespace shardproof::verify {

// Indices of the checkpoint, made when first asked for.
class Indices {
public:
    Indices(const Plan& plan, LineReader reader, const ColumnCuts& cuts)
        : plan_{&plan}, reader_{reader}, cuts_{&cuts} {}
    [[nodiscard]] const ContentIndex& plain() { return made(std::nullopt); }
    [[nodiscard]] const ContentIndex& through(const Narrow& narrow) { return made(narrow); }

private:
    const ContentIndex& made(std::optional<Narrow> narrow);

    const Plan* plan_;
    LineReader reader_;
    const ColumnCuts* cuts_;
    std::vector<std::pair<std::optional<DType>, std::unique_ptr<ContentIndex>>> made_;
};

// What a rank should hold of a parameter.
struct PlannedShard {
    std::size_t param = 0;
    Rank rank;
    std::vector<IndexRuns> index;
    Shape shape;
    Held held;
    std::size_t cut = 0;  // of its columns; SIZE_MAX: it holds nothing
    LineArray lines;
};
[[nodiscard]] PlannedShard planned_shard(const Plan& plan, const LineReader& reader, const ColumnCuts& cuts,
                                         std::size_t param, Rank rank);

enum class LineState : std::uint8_t {
    right,
    placed,    // lines of the checkpoint, other ones than planned or in another place
    zeros,
    nans,
    constant,
    rounded,   // the planned values, through a narrower dtype
    blank_in_part,  // planned values, but for zeros, NaN or one constant
    damaged,   // half or more of the planned values
    unknown,
};

struct ShardLines {
    View view = View::as_is;
    LineArray found;                      // as the view puts it right
    bool is_aligned = false;              // line i should be the planned line planned_at[i]
    std::vector<std::int64_t> planned_at;
    std::vector<LineState> states;        // one a line
    std::vector<PlacedRun> runs;          // of LineState::placed
    std::vector<std::int64_t> wrong;      // elements of each line, where aligned
    std::optional<Narrow> narrow;         // what values passed through
    std::vector<DType> narrow_or_else;    // what would say the same
    [[nodiscard]] std::int64_t count(LineState state) const;
};

// `indices` null: only what the rank itself should hold is looked for. Found lines of other counts or lengths than
// planned are not aligned.
[[nodiscard]] ShardLines classify(const Lookup& own, const LineReader& reader, const ColumnCuts& cuts, const Plan& plan,
                                  const PlannedShard& planned, const FoundShard& found, Indices* indices);

}  // namespace shardproof::verify
