#include "props/gen/traits.hpp"

#include <algorithm>
#include <set>

#include "sim/plan/shard.hpp"

namespace shardproof::props {

namespace {

constexpr std::array<std::string_view, kNumTraits> kNames{"zero_token_rank",
                                                          "empty_batch",
                                                          "empty_sequence",
                                                          "one_token",
                                                          "uneven_tokens",
                                                          "world_ge_4",
                                                          "world_ge_8",
                                                          "tp",
                                                          "sp",
                                                          "fsdp",
                                                          "dp_replicate",
                                                          "ep",
                                                          "ep_lt_tp",
                                                          "ep_eq_tp",
                                                          "ep_gt_tp",
                                                          "ep_across_tp",
                                                          "efsdp",
                                                          "e_eq_ep",
                                                          "uneven_experts",
                                                          "rank_without_expert",
                                                          "two_experts_a_rank",
                                                          "shard1_experts",
                                                          "uneven_vocab",
                                                          "uneven_moe_hidden",
                                                          "k_eq_e",
                                                          "one_expert",
                                                          "exact_ties",
                                                          "all_to_one",
                                                          "empty_expert",
                                                          "dense_layer",
                                                          "tied",
                                                          "norm_topk",
                                                          "sigmoid",
                                                          "score_on_input",
                                                          "scaled",
                                                          "rope_scaling",
                                                          "bf16",
                                                          "bf16_weights",
                                                          "f16_weights",
                                                          "many_files",
                                                          "titan_infer",
                                                          "titan_infer_fsdp",
                                                          "vllm",
                                                          "megatron",
                                                          "etp",
                                                          "etp_ne_tp",
                                                          "vllm_cut_experts",
                                                          "round_robin",
                                                          "expert_map",
                                                          "redundant_experts",
                                                          "kv_replicas",
                                                          "llama4",
                                                          "nested_checkpoint",
                                                          "shared_expert",
                                                          "no_rope_layer",
                                                          "chunked",
                                                          "temperature",
                                                          "no_qk_norm",
                                                          "hard"};
static_assert(kNames.back() == "hard");

class Builder {
public:
    void set(Trait trait, bool holds) { traits_.set(static_cast<std::size_t>(trait), holds); }
    [[nodiscard]] bool has(Trait trait) const { return traits_.test(static_cast<std::size_t>(trait)); }
    [[nodiscard]] Traits take() const { return traits_; }

private:
    Traits traits_;
};

// Rows that each rank itself works on: its slice of its tp group's tokens.
std::vector<std::int64_t> rows_of_ranks(const Case& c) {
    std::vector<std::int64_t> tokens(static_cast<std::size_t>(c.layout.num_dp()), 0);
    for (const CaseSequence& s : c.sequences) tokens[static_cast<std::size_t>(s.dp_idx)] += s.length;
    std::vector<std::int64_t> rows;
    for (const std::int64_t n : tokens) {
        for (std::int64_t t = 0; t < c.layout.tp; ++t) rows.push_back(chunk(n, c.layout.tp, t).size());
    }
    return rows;
}

void token_traits(const Case& c, Builder& traits) {
    const std::vector<std::int64_t> rows = rows_of_ranks(c);
    const std::int64_t tokens = num_tokens(c);
    traits.set(Trait::empty_batch, tokens == 0);
    traits.set(Trait::one_token, tokens == 1);
    traits.set(Trait::zero_token_rank, tokens > 0 && std::ranges::find(rows, 0) != rows.end());
    traits.set(Trait::uneven_tokens, std::ranges::adjacent_find(rows, std::not_equal_to{}) != rows.end());
    traits.set(Trait::empty_sequence, std::ranges::any_of(c.sequences, [](const auto& s) { return s.length == 0; }));
}

bool has_fsdp(const CaseLayout& layout) { return layout.rules == "titan-train" || layout.rules == "titan-infer-fsdp"; }

// Experts of the ep rank that holds fewest.
std::int64_t fewest_experts(const CaseLayout& layout, std::int64_t experts) {
    if (!layout.expert_map.empty()) return static_cast<std::int64_t>(layout.expert_map.size()) / layout.ep;
    return layout.rules == "vllm" ? experts / layout.ep : chunk(experts, layout.ep, layout.ep - 1).size();
}

void layout_traits(const CaseLayout& layout, Builder& traits) {
    const bool trains = has_fsdp(layout);
    const bool is_vllm = layout.rules == "vllm";
    const std::int64_t efsdp = layout.dp_shard * layout.tp / layout.ep;
    traits.set(Trait::world_ge_4, layout.world() >= 4);
    traits.set(Trait::world_ge_8, layout.world() >= 8);
    traits.set(Trait::tp, layout.tp > 1);
    traits.set(Trait::sp, layout.sequence_parallel && layout.tp > 1);
    traits.set(Trait::fsdp, trains && layout.dp_shard > 1);
    traits.set(Trait::dp_replicate, layout.dp_replicate > 1);
    traits.set(Trait::ep, layout.ep > 1);
    traits.set(Trait::ep_lt_tp, layout.ep > 1 && layout.ep < layout.tp);
    traits.set(Trait::ep_eq_tp, layout.ep > 1 && layout.ep == layout.tp);
    traits.set(Trait::ep_gt_tp, layout.ep > 1 && layout.ep > layout.tp);
    traits.set(Trait::ep_across_tp, layout.tp > 1 && layout.ep > layout.tp);
    traits.set(Trait::efsdp, trains && layout.ep > 1 && efsdp > 1);
    traits.set(Trait::titan_infer, layout.rules == "titan-infer");
    traits.set(Trait::titan_infer_fsdp, layout.rules == "titan-infer-fsdp");
    traits.set(Trait::vllm, is_vllm);
    traits.set(Trait::megatron, layout.rules == "megatron");
    traits.set(Trait::etp, layout.etp > 1);
    traits.set(Trait::etp_ne_tp, layout.rules == "megatron" && layout.etp != layout.tp);
    traits.set(Trait::vllm_cut_experts, is_vllm && layout.ep == 1 && layout.world() > 1);
    traits.set(Trait::round_robin, layout.expert_order == ExpertOrder::round_robin);
    traits.set(Trait::expert_map, !layout.expert_map.empty());
}

void expert_traits(const Case& c, Builder& traits) {
    const CaseLayout& layout = c.layout;
    const std::int64_t experts = c.model.experts;
    const std::int64_t fewest = fewest_experts(layout, experts);
    const bool moe = static_cast<std::int64_t>(c.model.dense_layers.size()) < c.model.layers;
    const std::int64_t shards = layout.ep > 1 ? layout.dp_shard * layout.tp : layout.num_dp();
    const bool cut = layout.ep > 1 ? shards > layout.ep : layout.dp_shard > 1;
    traits.set(Trait::e_eq_ep, moe && layout.ep > 1 && experts == layout.ep);
    traits.set(Trait::uneven_experts, moe && experts % layout.ep != 0);
    traits.set(Trait::rank_without_expert, moe && fewest == 0);
    traits.set(Trait::two_experts_a_rank, moe && fewest >= 2);
    traits.set(Trait::shard1_experts, moe && has_fsdp(layout) && cut && shards > experts);
    traits.set(Trait::redundant_experts, moe && static_cast<std::int64_t>(layout.expert_map.size()) > experts);
    traits.set(Trait::kv_replicas, layout.tp > c.model.kv_heads);
    traits.set(Trait::uneven_vocab, c.model.vocab % layout.tp != 0);
    traits.set(Trait::uneven_moe_hidden, moe && layout.ep == 1 && c.model.moe_hidden % layout.tp != 0);
    traits.set(Trait::k_eq_e, moe && c.model.top_k == experts && experts > 1);
    traits.set(Trait::one_expert, moe && experts == 1);
    traits.set(Trait::exact_ties, moe && c.model.routing == RoutingFlavour::exact_ties && experts > 1);
}

void model_traits(const Case& c, Builder& traits) {
    traits.set(Trait::dense_layer, !c.model.dense_layers.empty());
    traits.set(Trait::tied, c.model.tied);
    traits.set(Trait::norm_topk, c.model.norm_topk);
    traits.set(Trait::sigmoid, c.model.score == ScoreFunction::sigmoid);
    traits.set(Trait::score_on_input, c.model.score_on == ScoreOn::input);
    traits.set(Trait::scaled, c.model.scale != 1.0);
    traits.set(Trait::rope_scaling, c.model.rope != RopeScaling::none);
    traits.set(Trait::bf16, c.arithmetic == Arithmetic::bf16);
    traits.set(Trait::bf16_weights, c.model.dtype == DType::BF16);
    traits.set(Trait::f16_weights, c.model.dtype == DType::F16);
    traits.set(Trait::many_files, c.model.files > 1);
}

// Whether some sequence is longer than so many tokens.
bool any_longer_than(const Case& c, std::int64_t length) {
    return std::ranges::any_of(c.sequences, [&](const CaseSequence& s) { return s.length > length; });
}

void llama4_traits(const Case& c, Builder& traits) {
    const CaseModel& m = c.model;
    if (!m.is_llama4()) return;
    const auto without_rope = static_cast<std::int64_t>(m.no_rope_layers.size());
    traits.set(Trait::llama4, true);
    traits.set(Trait::nested_checkpoint, m.family == "llama4");
    traits.set(Trait::shared_expert, static_cast<std::int64_t>(m.dense_layers.size()) < m.layers);
    traits.set(Trait::no_rope_layer, without_rope > 0);
    traits.set(Trait::chunked, m.chunk > 0 && without_rope < m.layers && any_longer_than(c, m.chunk));
    traits.set(Trait::temperature, m.floor_scale > 0 && without_rope > 0 && any_longer_than(c, m.floor_scale));
    traits.set(Trait::no_qk_norm, !m.qk_norm);
}

// Whether in some MoE layer of the run one of several experts got every token, or none.
void routing_traits(const Case& c, const Result& result, Builder& traits) {
    for (const StageRecord& stage : result.stages) {
        std::vector<std::set<TokenId>> tokens_of(static_cast<std::size_t>(c.model.experts));
        std::set<TokenId> tokens;
        for (const RankRecord& record : stage.ranks) {
            const auto k = static_cast<std::size_t>(c.model.top_k);
            for (std::size_t i = 0; i < record.expert_ids.size(); ++i) {
                tokens_of.at(record.expert_ids[i].idx()).insert(record.tokens.at(i / k));
                tokens.insert(record.tokens.at(i / k));
            }
        }
        if (tokens.empty()) continue;
        for (const std::set<TokenId>& of_one : tokens_of) {
            if (of_one.empty()) traits.set(Trait::empty_expert, true);
            const bool all = tokens.size() > 1 && c.model.top_k < c.model.experts && of_one.size() == tokens.size();
            if (all) traits.set(Trait::all_to_one, true);
        }
    }
}

Builder traits_of_case(const Case& c) {
    Builder traits;
    token_traits(c, traits);
    layout_traits(c.layout, traits);
    expert_traits(c, traits);
    model_traits(c, traits);
    llama4_traits(c, traits);
    traits.set(Trait::hard, traits.has(Trait::world_ge_4) && traits.has(Trait::ep) &&
                                traits.has(Trait::two_experts_a_rank) && traits.has(Trait::uneven_tokens));
    return traits;
}

}  // namespace

std::string_view name_of(Trait trait) { return kNames.at(static_cast<std::size_t>(trait)); }

Traits traits_of(const Case& c) { return traits_of_case(c).take(); }

Traits traits_of(const Case& c, const Result& result) {
    Builder traits = traits_of_case(c);
    routing_traits(c, result, traits);
    return traits.take();
}

}  // namespace shardproof::props
