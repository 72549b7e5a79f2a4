// Difference: what a rank's file has of a parameter instead of what it should, as `verify` reports it.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oracle/model/ids.hpp"
#include "sim/verify/lines.hpp"

namespace shardproof::verify {

// In the contract's order: of several that fit, the first is the difference's kind.
enum class Kind : std::uint8_t {
    missing,
    truncated,
    transposed,
    swapped_gate_up,
    wrong_expert,
    wrong_rank,
    duplicated,
    not_loaded,
    rounded,
    corrupt,
    unexpected,
};
inline constexpr std::size_t kNumKinds = 11;
[[nodiscard]] std::string_view name_of(Kind kind);  // "wrong-expert"

// What the lines of a dump hold, for finding a common cause.
enum class Seen : std::uint8_t { placed, zeros, nans, constant, unknown };
struct SeenRun {
    Seen seen{};
    LineRun lines;  // of Seen::placed; of the others its count alone
    bool operator==(const SeenRun&) const = default;
};

struct Content {
    std::vector<SeenRun> runs;  // in storage order
    IndexRuns columns;          // of all placed lines
    bool is_transposed = false;
    bool has_mixed_columns = false;
    bool has_surplus = false;       // beyond the planned lines, and nothing but blanks
    bool is_under_other_names = false;  // the planned experts, in tensors named for others
};

struct Difference {
    Rank rank;
    std::string param;
    std::optional<std::size_t> param_idx;  // into Plan::params; none: a name that the plan has not
    Kind kind{};
    std::vector<Kind> also;
    std::string expected;
    std::string found;
    std::vector<std::int64_t> found_experts;  // of an expert parameter, in storage order, as far as known
    std::optional<Rank> found_rank;
    std::string dtype_path;  // of rounded values
    std::optional<std::vector<std::int64_t>> first;  // global coordinates of the first wrong element
    std::int64_t count = 0;                          // of wrong elements
    Content content;
};

}  // namespace shardproof::verify
