// Traits: what is special about a case. A fuzz run counts them, so that a shape that never came up is seen.
#pragma once
#include <array>
#include <bitset>
#include <cstdint>
#include <string_view>

#include "oracle/model/result.hpp"
#include "props/gen/case.hpp"

namespace shardproof::props {

enum class Trait : std::uint8_t {
    zero_token_rank,
    empty_batch,
    empty_sequence,
    one_token,
    uneven_tokens,
    world_ge_4,
    world_ge_8,
    tp,
    sp,
    fsdp,
    dp_replicate,
    ep,
    ep_lt_tp,
    ep_eq_tp,
    ep_gt_tp,
    ep_across_tp,
    efsdp,
    e_eq_ep,
    uneven_experts,
    rank_without_expert,
    two_experts_a_rank,
    shard1_experts,
    uneven_vocab,
    uneven_moe_hidden,
    k_eq_e,
    one_expert,
    exact_ties,
    all_to_one,
    empty_expert,
    dense_layer,
    tied,
    norm_topk,
    sigmoid,
    score_on_input,
    scaled,
    rope_scaling,
    bf16,
    bf16_weights,
    f16_weights,
    many_files,
    titan_infer,
    titan_infer_fsdp,
    vllm,
    megatron,
    etp,
    etp_ne_tp,
    vllm_cut_experts,
    round_robin,
    expert_map,
    redundant_experts,
    kv_replicas,
    llama4,
    nested_checkpoint,
    shared_expert,
    no_rope_layer,
    chunked,
    temperature,
    no_qk_norm,
    hard,  // world >= 4, ep > 1, two or more experts a rank, uneven tokens: at least half of random cases
    count_,
};
inline constexpr std::size_t kNumTraits = static_cast<std::size_t>(Trait::count_);
using Traits = std::bitset<kNumTraits>;
[[nodiscard]] std::string_view name_of(Trait trait);

// What the case itself says.
[[nodiscard]] Traits traits_of(const Case& c);
// And what its run shows: all_to_one, empty_expert.
[[nodiscard]] Traits traits_of(const Case& c, const Result& result);

}  // namespace shardproof::props
