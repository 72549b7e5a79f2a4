// Laws of what the ranks compute: it is the model, and a judge that says so would see if it were not.
#pragma once
#include <optional>
#include <string>

#include "props/laws/subject.hpp"

namespace shardproof::props::model {

// Every rank's every stage lies within its bound of the oracle's.
[[nodiscard]] std::optional<std::string> within_bounds(Subject& subject);
// The tester's own law: one recorded element, moved to 4 bounds from the oracle's value on every rank that records it,
// fails at that element.
[[nodiscard]] std::optional<std::string> judge_sees_four_bounds(Subject& subject);

}  // namespace shardproof::props::model
