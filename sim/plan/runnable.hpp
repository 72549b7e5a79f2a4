// Whether virtual ranks can compute with a plan that another program decided.
#pragma once
#include <optional>
#include <string>

#include "sim/plan/plan.hpp"

namespace shardproof {

struct NotRunnable {
    std::string param;
    std::string why;  // one line
};

// nullopt where, once FSDP's pieces are gathered, every rank computes with the parts that one of our rule sets gives
// it, and gathering in the order of the group gives them. Experts may lie on ep ranks in any order and number. `plan`
// covers. Otherwise the first parameter that differs from the rule set that is nearest.
[[nodiscard]] std::optional<NotRunnable> not_runnable(const Plan& plan);

}  // namespace shardproof
