// For tests: a model of two MoE layers on four ranks, dp_shard 2, tp 2, ep 4, eight experts, tokens on all ranks.
#pragma once
#include "props/gen/case.hpp"

namespace shardproof::props {

inline Case four_ranks() {
    Case c;
    c.model = {.hidden = 16,
               .layers = 2,
               .heads = 4,
               .kv_heads = 2,
               .head_dim = 4,
               .experts = 8,
               .top_k = 3,
               .moe_hidden = 10,
               .dense_hidden = 12,
               .vocab = 29,
               .dense_layers = {},
               .dtype = DType::BF16,
               .seed = 5};
    c.layout = {.rules = "titan-infer", .dp_shard = 2, .tp = 2, .ep = 4};
    c.sequences = {{0, 7}, {1, 3}, {0, 1}};
    return c;
}

}  // namespace shardproof::props
