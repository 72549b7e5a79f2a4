// A StepForecast for people and for machines.
#pragma once
#include <iosfwd>

#include "reports/cost_options.hpp"
#include "reports/json.hpp"
#include "reports/plan_json.hpp"

namespace shardproof::reports {

// One line a collective, with the fullest rank's bytes, or those of the rank that `view` shows.
void print_cost(const StepForecast& forecast, const PlanView& view, std::ostream& out);
// Bytes of every rank, of one, or with shards left out the least, the most and the sum.
void write_cost(const StepForecast& forecast, const PlanView& view, JsonWriter& json);

}  // namespace shardproof::reports
