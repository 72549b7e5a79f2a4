// Laws of virtual ranks: a run ends, all ranks do the same steps, and neither the scheduler nor the layout shows in the
// bits.
#pragma once
#include <optional>
#include <string>

#include "props/laws/subject.hpp"

namespace shardproof::props::world {

[[nodiscard]] std::optional<std::string> ends(Subject& subject);
// Every rank takes part in the same collectives in the same order, and as many bytes come back from the experts as
// went.
[[nodiscard]] std::optional<std::string> ranks_are_in_step(Subject& subject);
// Another order of the scheduler, the same bits in every record.
[[nodiscard]] std::optional<std::string> any_schedule(Subject& subject);
// Another layout that changes the order of no sum, the same bits for every token. The other layout runs healthy.
[[nodiscard]] std::optional<std::string> layouts_agree(Subject& subject);

}  // namespace shardproof::props::world
