// plan --tokens: what a step of the planned model costs, and under which assumptions.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "reports/option_set.hpp"
#include "sim/cost.hpp"

namespace shardproof::reports {

struct CostOptions {
    std::optional<std::int64_t> tokens;
    std::optional<std::string> routing;
    std::optional<std::string> dtype;
    std::optional<std::int64_t> ranks_per_node;
    std::optional<std::string> intra_node, inter_node;
    std::optional<std::filesystem::path> network;
};

// A forecast and what it rests on.
struct StepForecast {
    std::int64_t tokens = 0;
    std::int64_t num_layers = 0;
    std::string routing;
    sim::StepOptions options;
    sim::StepCost cost;
};

void add_cost_options(OptionSet& set, CostOptions& options);
// nullopt where no --tokens were given; the other options then may not be. Throws InputError: these, a wrong word, a
// file that breaks its form, a plan that virtual ranks cannot run. `is_given`: the plan is of another program's layout,
// which may compute as no rule set of ours does.
[[nodiscard]] std::optional<StepForecast> forecast_of(const CostOptions& options, const Plan& plan, bool is_given);

}  // namespace shardproof::reports
