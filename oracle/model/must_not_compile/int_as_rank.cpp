// expects: could not convert|no known conversion
// A bare number is no rank: somebody has to say that it is one.
#include "oracle/model/ids.hpp"

namespace shardproof {
std::int64_t value_of(Rank rank) { return rank.value(); }

std::int64_t value_of_three() {
#ifdef MUST_NOT_COMPILE
    return value_of(3);
#else
    return value_of(Rank{3});
#endif
}
}  // namespace shardproof
