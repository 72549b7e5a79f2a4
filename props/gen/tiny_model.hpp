// The model and the tokens of a case, in memory: no file is touched.
#pragma once
#include "oracle/model/batch.hpp"
#include "oracle/model/model.hpp"
#include "props/gen/case.hpp"

namespace shardproof::props {

// A checkpoint in the published layout with fan-in scaled values, so that every part of the forward matters. A function
// of c.model alone.
[[nodiscard]] Model make_tiny_model(const Case& c);
// Token ids are a function of c.model.seed and a token's place in the batch.
[[nodiscard]] Batch make_batch(const Case& c);

// The expert that every token chooses first with RoutingFlavour::all_to_one.
[[nodiscard]] ExpertId hot_expert(const CaseModel& model);

}  // namespace shardproof::props
