// megatron: Megatron-Core's parallel folding. Attention lies on tp x cp x dp, experts on etp x ep x edp of the same
// ranks, both in the order tp-cp-ep-dp-pp, fastest first. dp_shard is its data-parallel size, whose ranks replicate
// parameters (the distributed optimizer shards its own state only). The vocabulary is padded to a multiple of 128*tp.
// Source: github.com/NVIDIA/Megatron-LM, megatron/core/parallel_state.py (RankGenerator, initialize_model_parallel:
// decoder_rank_generator, expert_decoder_rank_generator), megatron/core/transformer/moe/ (experts.py,
// token_dispatcher.py), megatron/core/tensor_parallel/layers.py, megatron/training: vocab_size_with_padding.
#include "sim/plan/rules/peers.hpp"
#include "sim/plan/rules/titan.hpp"
#include "sim/plan/rules/vocabulary_rows.hpp"

namespace shardproof::megatron {
namespace {

constexpr std::int64_t kVocabularyMultiple = 128;  // make_vocab_size_divisible_by, a tp rank

}  // namespace

void check(const ParallelDims& dims, const ModelConfig& config, const RuleOptions& /*options*/) {
    require_one("--dp-replicate", dims.dp_replicate(), "megatron");
    const auto check_heads = [&](const auto& spec) {
        const Heads heads = heads_of(spec);
        require_divides("--tp", dims.tp(), heads.num_heads, "num_attention_heads");
        require_divides("--tp", dims.tp(), heads.num_kv_heads, "num_key_value_heads");
    };
    std::visit(check_heads, config.attention);
    if (has_dense_mlp(config)) require_divides("--tp", dims.tp(), config.dense_intermediate_size, "intermediate_size");
    if (!has_experts(config)) return;
    require_divides("--ep", dims.ep(), config.router.num_experts, "num_experts");
    if (config.shared_intermediate_size > 0)
        require_divides("--tp", dims.tp(), config.shared_intermediate_size, "the shared expert's intermediate_size");
    require_divides("--etp", dims.etp(), config.moe_intermediate_size, "moe_intermediate_size");
}

std::optional<ParamPlacement> place(const Parameter& parameter, const ModelConfig& config, const ParallelDims& dims,
                                    const RuleOptions& /*options*/) {
    const Role role = parameter.role;
    if (is_routed_expert(role)) {
        ParamPlacement placed{MeshKind::sparse, std::vector<Placement>(kNumSparseAxes, Replicate{})};
        if (dims.ep() > 1) placed.placements[kEpAxis] = ShardDim{0};
        if (dims.etp() > 1) placed.placements[kEtpAxis] = ShardDim{hidden_width_dim(role)};
        return placed;
    }
    std::optional<ParamPlacement> placed = place_model_parallel(role, dims);
    if (placed && dims.tp() > 1 && (role == Role::tok_embeddings || role == Role::lm_head))
        placed->placements[kTpAxis] = padded_vocabulary(config.vocab_size, kVocabularyMultiple * dims.tp(), dims.tp());
    return placed;
}

Meshes meshes(const ParallelDims& dims) { return make_meshes_with_etp(dims, dims.etp()); }

}  // namespace shardproof::megatron
