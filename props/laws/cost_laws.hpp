// Laws of the forecast: what a step costs is known before it runs.
#pragma once
#include <optional>
#include <string>

#include "props/laws/subject.hpp"
#include "sim/cost.hpp"

namespace shardproof::props::cost {

// The bytes that cost_of says of every collective, rank by rank and call by call, are those that the virtual ranks
// counted; no collective is left over on either side.
[[nodiscard]] std::optional<std::string> forecast_is_count(Subject& subject);

// The same of any forecast and trace, for the law's own test.
[[nodiscard]] std::optional<std::string> difference(const sim::StepCost& forecast, const sim::Trace& counted);

}  // namespace shardproof::props::cost
