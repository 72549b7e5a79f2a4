// Hugging Face names: those of the checkpoint itself, and the form of experts that a release of transformers has in
// memory where the published one is the other: a tensor an expert, or all stacked with gate and up in one.
#include "sim/verify/names/rows.hpp"

namespace shardproof::verify {

const NameRows& hf_names() {
    static const NameRows kRows{
        .name = "hf",
        .rows =
            {
                {"layers.{L}.mlp.experts.{E}.gate_proj.weight", {Role::expert_w1}},
                {"layers.{L}.mlp.experts.{E}.down_proj.weight", {Role::expert_w2}},
                {"layers.{L}.mlp.experts.{E}.up_proj.weight", {Role::expert_w3}},
                {"layers.{L}.mlp.experts.gate_up_proj", {Role::expert_w1, Role::expert_w3}},
                {"layers.{L}.mlp.experts.down_proj", {Role::expert_w2}},
                {"layers.{L}.mlp.experts.gate_up_proj", {Role::expert_w1, Role::expert_w3}, Join::rows, true},
                {"layers.{L}.mlp.experts.down_proj", {Role::expert_w2}, Join::rows, true},
                {"layers.{L}.feed_forward.experts.{E}.gate_proj.weight", {Role::expert_w1}},
                {"layers.{L}.feed_forward.experts.{E}.down_proj.weight", {Role::expert_w2}},
                {"layers.{L}.feed_forward.experts.{E}.up_proj.weight", {Role::expert_w3}},
                {"layers.{L}.feed_forward.experts.gate_up_proj", {Role::expert_w1, Role::expert_w3}, Join::rows, true},
                {"layers.{L}.feed_forward.experts.down_proj", {Role::expert_w2}, Join::rows, true},
            },
        .has_checkpoint_names = true,
        .has_shape_suffixes = false};
    return kRows;
}

}  // namespace shardproof::verify
