// Random cases: valid by construction, biased to where sharding is hard, shrinking towards 1 rank, 1 expert, 1 token.
#pragma once
#include <rapidcheck/Gen.h>

#include "props/gen/case.hpp"

namespace shardproof::props {

// Layer-sized: hidden 8..24, 0..8 tokens a rank, worlds of 1..8 ranks, now and then 12 or 16.
[[nodiscard]] rc::Gen<Case> case_gen();
// A given case with what it shrinks to.
[[nodiscard]] rc::Shrinkable<Case> shrinkable_case(const Case& c);

}  // namespace shardproof::props
