// diagnose(): names what a rank's shard holds instead of what it should.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "sim/verify/classify.hpp"
#include "sim/verify/difference.hpp"

namespace shardproof::verify {

// Whose shard some lines are.
class Holders {
public:
    explicit Holders(const Plan& plan) : plan_{&plan} {}
    // The lowest rank that should hold exactly these lines of a parameter.
    [[nodiscard]] std::optional<Rank> holder(std::size_t param, const Held& held);

private:
    struct Table {
        std::size_t param;
        std::unordered_map<std::uint64_t, Rank> lowest;
    };
    const Plan* plan_;
    std::vector<Table> tables_;  // of the last parameters asked for
};

class Diagnoser {
public:
    // Neither is owned.
    Diagnoser(const Plan& plan, const Checkpoint& checkpoint);

    // What is wrong with a shard, nullopt where nothing is after all. With `everywhere`, what is not the rank's own is
    // looked up in all of the checkpoint; without, `is_known` says whether that is needed.
    [[nodiscard]] std::optional<Difference> diagnose(std::size_t param, Rank rank, const FoundShard& found,
                                                     bool everywhere, bool& is_known);
    // Where w1 and w3 stand for each other.
    [[nodiscard]] std::optional<std::size_t> partner(std::size_t param) const;

private:
    const Plan* plan_;
    LineReader reader_;
    ColumnCuts cuts_;
    Indices indices_;
    Holders holders_;
    std::map<std::pair<Role, std::int64_t>, std::size_t> param_of_;
};

}  // namespace shardproof::verify
