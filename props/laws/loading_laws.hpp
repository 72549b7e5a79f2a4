// Laws of loading: every byte of a shard was written, from where the plan says, and nothing else was read.
#pragma once
#include <optional>
#include <string>

#include "props/laws/subject.hpp"

namespace shardproof::props::loading {

// No poison is left, and as many bytes were read as the shards have.
[[nodiscard]] std::optional<std::string> writes_every_byte(Subject& subject);
// What was loaded is what the plan that should run says, cut from the oracle's whole parameters.
[[nodiscard]] std::optional<std::string> right_bytes(Subject& subject);
// One rank's shards have the same bits when loaded from a copy of the checkpoint whose unplanned bytes are all 0xFF.
[[nodiscard]] std::optional<std::string> reads_only_planned_bytes(Subject& subject);
// Every rank writes its whole shard back into checkpoint tensors, no two of them other bytes to the same place, and
// what they wrote loads under any other layout as the checkpoint itself does, bit for bit.
[[nodiscard]] std::optional<std::string> saved_here_loads_elsewhere(Subject& subject);

}  // namespace shardproof::props::loading
