// Mutants of files: what ranks read where a checkpoint's files are not what its index says. The reader refuses such
// files; here it lets them pass.
#pragma once
#include <optional>

#include "props/laws/subject.hpp"

namespace shardproof::props::mutant {

// The last file ends early, and a mapping reads zeros beyond its end.
[[nodiscard]] std::optional<Planted> truncated_file(const Healthy& healthy);
// A name that two files have, or one file without the index knowing: the other, older tensor wins.
[[nodiscard]] std::optional<Planted> stale_tensor_wins(const Healthy& healthy);

}  // namespace shardproof::props::mutant
