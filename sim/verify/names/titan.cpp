// TorchTitan's names, with or without shape suffixes, of 0.3.0 and of the releases after it: qkv_linear,
// routed_experts.inner_experts, and the fused wqkv and w13 of its overrides. Source: facts 3.2, 3.3, 5.3. `load` writes
// the same names without suffixes.
#include "sim/verify/names/rows.hpp"

namespace shardproof::verify {

const NameRows& titan_names() {
    static const NameRows kRows{
        .name = "titan",
        .rows =
            {
                {"tok_embeddings.weight", {Role::tok_embeddings}},
                {"norm.weight", {Role::final_norm}},
                {"lm_head.weight", {Role::lm_head}},
                {"output.weight", {Role::lm_head}},
                {"layers.{L}.attention_norm.weight", {Role::attention_norm}},
                {"layers.{L}.ffn_norm.weight", {Role::ffn_norm}},
                {"layers.{L}.attention.wq.weight", {Role::wq}},
                {"layers.{L}.attention.wk.weight", {Role::wk}},
                {"layers.{L}.attention.wv.weight", {Role::wv}},
                {"layers.{L}.attention.qkv_linear.wq.weight", {Role::wq}},
                {"layers.{L}.attention.qkv_linear.wk.weight", {Role::wk}},
                {"layers.{L}.attention.qkv_linear.wv.weight", {Role::wv}},
                {"layers.{L}.attention.qkv_linear.wqkv.weight", {Role::wq, Role::wk, Role::wv}, Join::kv_groups},
                {"layers.{L}.attention.wo.weight", {Role::wo}},
                {"layers.{L}.attention.q_norm.weight", {Role::q_norm}},
                {"layers.{L}.attention.k_norm.weight", {Role::k_norm}},
                {"layers.{L}.feed_forward.w1.weight", {Role::ffn_w1}},
                {"layers.{L}.feed_forward.w2.weight", {Role::ffn_w2}},
                {"layers.{L}.feed_forward.w3.weight", {Role::ffn_w3}},
                {"layers.{L}.feed_forward.w13", {Role::ffn_w1, Role::ffn_w3}, Join::pairs},
                {"layers.{L}.moe.router.gate.weight", {Role::router_gate}},
                {"layers.{L}.moe.expert_bias", {Role::expert_bias}},
                {"layers.{L}.moe.experts.w1", {Role::expert_w1}},
                {"layers.{L}.moe.experts.w2", {Role::expert_w2}},
                {"layers.{L}.moe.experts.w3", {Role::expert_w3}},
                {"layers.{L}.moe.experts.w13", {Role::expert_w1, Role::expert_w3}, Join::pairs},
                {"layers.{L}.moe.routed_experts.inner_experts.w1", {Role::expert_w1}},
                {"layers.{L}.moe.routed_experts.inner_experts.w2", {Role::expert_w2}},
                {"layers.{L}.moe.routed_experts.inner_experts.w3", {Role::expert_w3}},
                {"layers.{L}.moe.routed_experts.inner_experts.w13", {Role::expert_w1, Role::expert_w3}, Join::pairs},
                {"layers.{L}.moe.shared_experts.w1.weight", {Role::shared_w1}},
                {"layers.{L}.moe.shared_experts.w2.weight", {Role::shared_w2}},
                {"layers.{L}.moe.shared_experts.w3.weight", {Role::shared_w3}},
                {"layers.{L}.moe.shared_experts.w13", {Role::shared_w1, Role::shared_w3}, Join::pairs},
            },
        .has_checkpoint_names = false,
        .has_shape_suffixes = true};
    return kRows;
}

}  // namespace shardproof::verify
