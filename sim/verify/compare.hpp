// The fast path: whether a rank's shard holds the planned values, straight from the map of the checkpoint.
#pragma once
#include <cstddef>
#include <vector>

#include "sim/plan/load_plan.hpp"
#include "sim/verify/found_shard.hpp"
#include "sim/verify/values.hpp"

namespace shardproof::verify {

class Comparer {
public:
    explicit Comparer(const Checkpoint& checkpoint) : checkpoint_{&checkpoint} {}
    // `found` has the planned shape. The same dtype is compared by bytes (but NaN equals NaN), another by value.
    [[nodiscard]] bool holds_planned(const LoadPlan& plan, const FoundShard& found);

private:
    [[nodiscard]] bool has_values(DType dtype, std::span<const std::byte> planned, const FoundShard& found);

    const Checkpoint* checkpoint_;
    std::vector<std::byte> loaded_;  // kept from shard to shard
};

}  // namespace shardproof::verify
