// Laws of layouts: what the ranks hold together is the model, and each part of it as often as it should be.
#pragma once
#include <optional>
#include <string>

#include "props/laws/subject.hpp"

namespace shardproof::props::layout {

// Every element of every parameter is held by as many ranks as the sizes of the axes that replicate it multiply to:
// counted element by element, and by the plan's own proof.
[[nodiscard]] std::optional<std::string> held_as_often_as_replicas(Subject& subject);
// The shards that the ranks loaded, put back by their index runs, are bit for bit the oracle's whole parameter.
[[nodiscard]] std::optional<std::string> reassembles(Subject& subject);

}  // namespace shardproof::props::layout
