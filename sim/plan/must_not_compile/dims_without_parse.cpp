// expects: is private within this context|calling a private constructor
// Degrees that nobody checked: only parse() makes ParallelDims.
#include "sim/plan/parallel_dims.hpp"

namespace shardproof {
ParallelDims dims_of(const RawDims& raw) {
#ifdef MUST_NOT_COMPILE
    return ParallelDims{raw};
#else
    return ParallelDims::parse(raw);
#endif
}
}  // namespace shardproof
