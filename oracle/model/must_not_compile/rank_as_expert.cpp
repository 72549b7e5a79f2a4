// expects: could not convert|no known conversion
// A rank handed over where an expert is meant: the classic expert-parallel slip.
#include "oracle/model/ids.hpp"

namespace shardproof {
std::int64_t rows_of(ExpertId expert) { return expert.value(); }

std::int64_t rows_of_first() {
    [[maybe_unused]] const Rank rank{0};
#ifdef MUST_NOT_COMPILE
    return rows_of(rank);
#else
    return rows_of(ExpertId{0});
#endif
}
}  // namespace shardproof
