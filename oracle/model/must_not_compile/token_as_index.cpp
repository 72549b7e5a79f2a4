// expects: no match for .operator|no viable overloaded operator
// A token of the batch indexes nothing by itself: idx() says that the container has one entry a token of the batch.
#include <vector>

#include "oracle/model/ids.hpp"

namespace shardproof {
float weight_of(const std::vector<float>& weights, TokenId token) {
#ifdef MUST_NOT_COMPILE
    return weights[token];
#else
    return weights[token.idx()];
#endif
}
}  // namespace shardproof
