// expects: no match for .operator==|invalid operands to binary expression
// An expert's place in a shard equals its global id on one rank only, where tests are tempted to look.
#include "oracle/model/ids.hpp"

namespace shardproof {
bool is_same(LocalExpert local, ExpertId global) {
#ifdef MUST_NOT_COMPILE
    return local == global;
#else
    return local.value() == global.value();
#endif
}
}  // namespace shardproof
