// What a rule set's code declares of its parameters, judged against what the plan stores.
#pragma once
#include <string>
#include <vector>

#include "sim/plan/plan.hpp"

namespace shardproof {

struct DeclarationViolation {
    std::string param;
    std::string axis;
    std::string reason;  // follows "PARAM: axis AXIS "
};

// Of every parameter with a Declaration, in model order: a mesh given to FSDP whose first axis is not that of the
// replicas; a number of ranks asserted that the mesh has not; fewer placements than axes; a data axis that loading
// takes for replicated where storage is cut over it. Empty for a plan that declares nothing.
[[nodiscard]] std::vector<DeclarationViolation> declaration_violations(const Plan& plan);

// "PARAM: axis AXIS REASON", one line for all parameters that share axis and reason, named by the first of them.
[[nodiscard]] std::vector<std::string> to_lines(const std::vector<DeclarationViolation>& violations);

}  // namespace shardproof
