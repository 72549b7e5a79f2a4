// Softmax under errors: how each probability may differ when each score may.
#pragma once
#include <span>

#include "oracle/bounded.hpp"

namespace shardproof::oracle {

// On entry scores and their errors; on return probabilities with `error` split in two. A backend's probability j is
// (p_j + own) * (1 + common) with |own| <= error[j] and |common| <= the returned value, the same for all j: the
// normaliser cancels in a ratio or a comparison of probabilities. Neither holds a rounding to bf16.
[[nodiscard]] double bounded_softmax(std::span<double> scores, std::span<double> error);

}  // namespace shardproof::oracle
