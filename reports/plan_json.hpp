// A Plan as JSON, to the letter of the contract. The pieces that the manifest shares are here as well.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "reports/json.hpp"
#include "sim/plan/plan.hpp"

namespace shardproof::reports {

struct PlanView {
    std::optional<Rank> rank;          // shards of this rank only
    std::vector<std::size_t> params;   // into Plan::params
    bool shards = true;
    std::vector<std::string> violations = {};  // of the whole plan: what coverage_violations() says
};

// With `cost`, what it writes stands under "cost"; "violations" only where there are any.
void write_plan(const Plan& plan, const PlanView& view, JsonWriter& json,
                const std::function<void(JsonWriter&)>& cost = nullptr);

void write_dims(const ParallelDims& dims, JsonWriter& json);                 // {"pp":1, ...}
void write_index(std::span<const IndexRuns> index, JsonWriter& json);       // [[[0,16]],[[0,768]]]

}  // namespace shardproof::reports
