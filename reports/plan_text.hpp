// A Plan for people: meshes and groups, one row for layers that are alike, bytes per rank.
#pragma once
#include <iosfwd>

#include "reports/plan_json.hpp"

namespace shardproof::reports {

void print_plan(const Plan& plan, const PlanView& view, std::ostream& out);

}  // namespace shardproof::reports
