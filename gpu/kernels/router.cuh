// Router: logits, then the K best experts of each token and their weights. f32 throughout, whatever x and gate are
// stored in.
#pragma once
#include "gpu/kernels/matrix.hpp"
#include "gpu/stream.hpp"
#include "oracle/model/config.hpp"

namespace shardproof::gpu {

// logits[t,e] = sum_d x[t,d] gate[e,d], accumulated in f32. x [n,D], gate [E,D] of one arithmetic; logits f32 [n,E].
// Equal rows of gate give equal bits: a column's sum does not depend on where the column stands.
void router_logits(ConstMatrix x, ConstMatrix gate, float* logits, StreamView stream);

// Scores (softmax over all E, or sigmoid), the K best of each row, best first, ties to the lowest id; weights divided
// by their sum where router.norm_topk, times router.scale. logits f32 [n,E] (left as they are), ids int32 [n,K],
// weights f32 [n,K]. 1 <= K <= E <= 8192. With NaN among the logits the ids are still K different ones of 0..E-1.
void route_top_k(const RouterSpec& router, const float* logits, std::int64_t n, std::int32_t* ids, float* weights,
                 StreamView stream);

}  // namespace shardproof::gpu
