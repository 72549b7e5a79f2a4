// vLLM's names: q, k and v in one tensor, gate and up in one, experts stacked as w13 and w2, each rank's parts side by
// side. What it does not fuse has the checkpoint's names. Source: vllm/model_executor/layers/{linear,fused_moe}.
#include "sim/verify/names/rows.hpp"

namespace shardproof::verify {

const NameRows& vllm_names() {
    static const NameRows kRows{
        .name = "vllm",
        .rows =
            {
                {"layers.{L}.self_attn.qkv_proj.weight", {Role::wq, Role::wk, Role::wv}},
                {"layers.{L}.mlp.gate_up_proj.weight", {Role::ffn_w1, Role::ffn_w3}},
                {"layers.{L}.mlp.experts.w13_weight", {Role::expert_w1, Role::expert_w3}},
                {"layers.{L}.mlp.experts.w2_weight", {Role::expert_w2}},
                {"layers.{L}.mlp.experts.routed_experts.w13_weight", {Role::expert_w1, Role::expert_w3}},
                {"layers.{L}.mlp.experts.routed_experts.w2_weight", {Role::expert_w2}},
                {"layers.{L}.mlp.shared_expert.gate_up_proj.weight", {Role::shared_w1, Role::shared_w3}},
                {"layers.{L}.mlp.shared_experts.gate_up_proj.weight", {Role::shared_w1, Role::shared_w3}},
                {"layers.{L}.feed_forward.gate_up_proj.weight", {Role::ffn_w1, Role::ffn_w3}},
                {"layers.{L}.feed_forward.experts.w13_weight", {Role::expert_w1, Role::expert_w3}},
                {"layers.{L}.feed_forward.experts.w2_weight", {Role::expert_w2}},
                {"layers.{L}.feed_forward.shared_expert.gate_up_proj.weight", {Role::shared_w1, Role::shared_w3}},
            },
        .has_checkpoint_names = true,
        .has_shape_suffixes = false};
    return kRows;
}

}  // namespace shardproof::verify
