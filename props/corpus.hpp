// The corpus: past failures and hand-picked edges, from props/corpus/cases.txt, which the build puts into the program.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "props/gen/case.hpp"

namespace shardproof::props {

extern const std::string_view kCorpusText;

// Its lines without comments and empty ones, in their order.
[[nodiscard]] std::vector<std::string> corpus_lines();
// InputError for a line that is no case.
[[nodiscard]] std::vector<Case> corpus();

}  // namespace shardproof::props
