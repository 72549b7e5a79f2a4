// Laws of routing, on what a run recorded.
#pragma once
#include <optional>
#include <string>

#include "props/laws/subject.hpp"

namespace shardproof::props::router {

// A token's K ids are distinct ids of experts, best first; their weights, the scale taken out, are not negative and sum
// to 1 where they are normed; elsewhere to at most 1, and with sigmoid scores to at most K.
[[nodiscard]] std::optional<std::string> choices_are_sound(Subject& subject);
// Of two experts with equal gate rows the second is chosen only right behind the first.
[[nodiscard]] std::optional<std::string> ties_to_the_lowest(Subject& subject);

}  // namespace shardproof::props::router
