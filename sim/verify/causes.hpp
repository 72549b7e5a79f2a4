// Causes: wrong rules, each of which says what every rank would hold. The one that explains most differences is what
// happened.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "sim/plan/plan.hpp"
#include "sim/verify/difference.hpp"

namespace shardproof::verify {

// A rule's answer for one parameter and rank; nullopt: it does not say, or says what is planned.
using WouldHold = std::function<std::optional<Held>(const Plan&, std::size_t param, Rank)>;
struct Cause {
    std::string sentence;
    WouldHold would_hold;
};
// The rows: all rules that mean something for this plan, the more particular first.
[[nodiscard]] std::vector<Cause> causes(const Plan& plan);

// The sentence of the rule that explains more than half of the differences; else what most of them have in common;
// nullopt where that is nothing.
[[nodiscard]] std::optional<std::string> find_cause(const Plan& plan, const std::vector<Difference>& differences);

}  // namespace shardproof::verify
