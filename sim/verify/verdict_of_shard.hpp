// From classified lines to a Difference: kinds in the contract's order, and what is found in words.
#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "sim/verify/classify.hpp"
#include "sim/verify/diagnose.hpp"
#include "sim/verify/difference.hpp"

namespace shardproof::verify {

// One found line: where it stands in the checkpoint, as far as known.
struct FoundLine {
    bool is_known = false;
    std::size_t param = 0;
    std::int64_t line = 0;
    std::size_t cut = 0;
};

class ShardVerdict {
public:
    ShardVerdict(const Plan& plan, const ColumnCuts& cuts, const PlannedShard& planned, const FoundShard& found,
                 ShardLines lines, std::optional<std::size_t> partner, Holders& holders);
    // nullopt: nothing is wrong.
    [[nodiscard]] std::optional<Difference> difference();

private:
    void know_lines();
    [[nodiscard]] Origin likeliest(const PlacedRun& run);
    [[nodiscard]] std::optional<std::int64_t> position_of(std::int64_t line) const;  // among the planned lines
    void judge_experts_and_ranks();
    void judge_order();
    void judge_length();
    void judge_values();
    [[nodiscard]] bool has_columns_cut_off();
    void count_wrong();
    void place_first(std::int64_t planned_line, std::int64_t element);
    void find_experts();
    void find_rank();
    void set_kind();
    void set_content();
    [[nodiscard]] std::string expected_in_words() const;
    [[nodiscard]] std::string found_in_words();
    [[nodiscard]] std::string pieces_in_words() const;
    [[nodiscard]] std::string blanks_in_words() const;
    void fits(Kind kind) { kinds_.insert(kind); }
    [[nodiscard]] bool is(Kind kind) const { return kinds_.contains(kind); }

    const Plan* plan_;
    const ColumnCuts* cuts_;
    const PlannedShard* planned_;
    const FoundShard* found_;
    ShardLines lines_;
    std::optional<std::size_t> partner_;
    Holders* holders_;
    const Parameter* parameter_;

    std::vector<FoundLine> known_;  // one a found line
    std::vector<std::pair<LineRun, std::int64_t>> own_;  // planned runs by number, each with its position
    std::set<Kind> kinds_;
    std::set<std::string> elsewhere_;  // other places that hold the same
    bool experts_are_ambiguous_ = false;
    bool is_other_matrix_ = false;
    bool has_surplus_ = false;
    bool is_in_other_order_ = false;
    std::int64_t columns_missing_ = 0;
    Difference difference_;
};

// Global coordinates of an element of a shard by its flat place there.
[[nodiscard]] std::vector<std::int64_t> global_coordinates(const std::vector<IndexRuns>& index, std::int64_t flat);

}  // namespace shardproof::verify
