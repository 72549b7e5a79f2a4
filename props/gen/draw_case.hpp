// The draws behind case_gen, and the layouts it draws from. No RapidCheck here: it compiles slowly.
#pragma once
#include <cstdint>
#include <vector>

#include "props/gen/case.hpp"
#include "sim/prng.hpp"

namespace shardproof::props {

// Every layout of one world size that ParallelDims and a rule set take for some model, without sequence parallelism and
// with experts dealt in order.
[[nodiscard]] std::vector<CaseLayout> layouts_of_world(std::int64_t world);

// Into how many parts FSDP cuts dim 1 of the experts, which must be even: where it has more ranks than experts.
[[nodiscard]] std::int64_t parts_of_dim1(const CaseLayout& layout, std::int64_t experts);

// What else a rule set asks of a model's sizes: the smallest that fit, at least as large as they are.
void fit_to_rules(const CaseLayout& layout, CaseModel& m);

// A valid case, a function of the generator's state.
[[nodiscard]] Case draw_case(sim::Prng& prng);

// Smaller valid cases, boldest first.
[[nodiscard]] std::vector<Case> smaller_cases(const Case& c);

}  // namespace shardproof::props
