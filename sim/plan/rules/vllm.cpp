// vllm: vLLM's own layout. dp_shard is its data_parallel_size, whose ranks replicate dense parameters.
//   experts    without expert parallelism every rank holds all of them, their hidden width cut over all dp*tp ranks;
//              with it each of the dp*tp ranks holds whole experts: E/ep each and one more on the first E%ep ranks, in
//              order (linear) or every ep-th (round_robin), or as an explicit map of slots says, redundant ones
//              included
//   kv heads   where tp passes their number each is held by tp/kv_heads neighbouring ranks
//   vocabulary padded to a multiple of 64, then cut
// Source: github.com/vllm-project/vllm, vllm/model_executor/layers/: fused_moe/config.py
// (FusedMoEParallelConfig.make, flatten_tp_across_dp_and_pcp), fused_moe/expert_map_manager.py (determine_expert_map;
// before in fused_moe/layer.py), linear.py (QKVParallelLinear), vocab_parallel_embedding.py; distributed/eplb
// (physical_to_logical_map, its slots dealt evenly to ranks).
#include <algorithm>
#include <set>
#include <string>

#include "oracle/model/error.hpp"
#include "sim/plan/rules/peers.hpp"
#include "sim/plan/rules/titan.hpp"
#include "sim/plan/rules/vocabulary_rows.hpp"
#include "sim/plan/shard.hpp"

namespace shardproof::vllm {
namespace {

constexpr std::int64_t kVocabularyMultiple = 64;

[[noreturn]] void refuse(const char* option, std::int64_t value, std::string rule) {
    throw InputError{{"command line", option, std::to_string(value), std::move(rule)}};
}

void check_heads(const Heads& heads, std::int64_t tp) {
    require_divides("--tp", tp, heads.num_heads, "num_attention_heads");
    const std::int64_t kv = heads.num_kv_heads;
    if (tp < kv) require_divides("--tp", tp, kv, "num_key_value_heads");
    if (tp >= kv && tp % kv != 0)
        refuse("--tp", tp, "must be a multiple of num_key_value_heads (" + std::to_string(kv) + "), or divide it");
}

// One list of the map against the model: every expert has a slot, and no rank two slots of the same one.
void check_slots(const RuleOptions& options, std::size_t list, std::int64_t experts, std::int64_t ep) {
    const std::vector<std::int64_t>& slots = options.expert_map[list];
    const bool alike = options.expert_map.size() == 1;  // one list of the file for all layers
    std::string path = "physical_to_logical_map";
    if (!alike) path.append("[").append(std::to_string(list)).append("]");
    const auto refuse_field = [&](const std::string& field, std::int64_t value, std::string rule) {
        throw InputError{{options.expert_map_file, field, std::to_string(value), std::move(rule)}};
    };
    const auto num_slots = static_cast<std::int64_t>(slots.size());
    if (num_slots == 0 || num_slots % ep != 0)
        refuse_field(path, num_slots, "must have a number of slots that ep (" + std::to_string(ep) + ") divides");
    std::set<std::int64_t> all;
    for (std::int64_t rank = 0; rank < ep; ++rank) {
        std::set<std::int64_t> mine;
        for (std::int64_t slot = rank * (num_slots / ep); slot < (rank + 1) * (num_slots / ep); ++slot) {
            const std::int64_t expert = slots[static_cast<std::size_t>(slot)];
            const std::string field = path + "[" + std::to_string(slot) + "]";
            if (expert < 0 || expert >= experts)
                refuse_field(field, expert, "must be an expert, 0 .. " + std::to_string(experts - 1));
            if (!mine.insert(expert).second)
                refuse_field(field, expert, "must not come twice on ep rank " + std::to_string(rank));
        }
        all.merge(mine);
    }
    for (std::int64_t expert = 0; expert < experts; ++expert) {
        if (!all.contains(expert)) refuse_field(path, expert, "is an expert without a slot");
    }
}

void check_map(const ParallelDims& dims, const ModelConfig& config, const RuleOptions& options) {
    if (options.expert_map.empty()) return;
    if (dims.ep() == 1) refuse("--ep", 1, "must be dp_shard*tp, above 1, where experts are placed by --expert-map");
    if (options.expert_order == ExpertOrder::round_robin) {
        throw InputError{{"command line", "--vllm-expert-placement-strategy", "round_robin",
                          "must not be given together with --expert-map"}};
    }
    const auto layers = static_cast<std::size_t>(std::count(config.mlp.begin(), config.mlp.end(), MlpKind::moe));
    const std::size_t lists = options.expert_map.size();
    if (lists != 1 && lists != layers) {
        throw InputError{{options.expert_map_file, "physical_to_logical_map", std::to_string(lists),
                          "must be one list, or one for each of the " + std::to_string(layers) + " MoE layers"}};
    }
    for (std::size_t list = 0; list < lists; ++list) check_slots(options, list, config.router.num_experts, dims.ep());
}

IndexRuns merged(const std::vector<std::int64_t>& indices) {
    IndexRuns runs;
    for (const std::int64_t i : indices) append_run(runs, {i, i + 1});
    return runs;
}

Placement mapped(const std::vector<std::int64_t>& slots, std::int64_t ep) {
    const auto each = static_cast<std::ptrdiff_t>(slots.size()) / ep;
    Owners owners{.dim = 0, .runs = {}, .redundant = true};
    for (std::ptrdiff_t rank = 0; rank < ep; ++rank)
        owners.runs.push_back(merged({slots.begin() + rank * each, slots.begin() + (rank + 1) * each}));
    return owners;
}

Placement dealt(std::int64_t experts, std::int64_t ep, ExpertOrder order) {
    Owners owners;
    bool is_plain = true;
    for (std::int64_t rank = 0; rank < ep; ++rank) {
        std::vector<std::int64_t> mine;
        if (order == ExpertOrder::round_robin) {
            for (std::int64_t e = rank; e < experts; e += ep) mine.push_back(e);
        } else {
            const std::int64_t first = rank * (experts / ep) + std::min(rank, experts % ep);
            const std::int64_t count = experts / ep + (rank < experts % ep ? 1 : 0);
            for (std::int64_t e = first; e < first + count; ++e) mine.push_back(e);
        }
        owners.runs.push_back(merged(mine));
        const Run plain = chunk(experts, ep, rank);
        is_plain = is_plain && owners.runs.back() == (plain.size() > 0 ? IndexRuns{plain} : IndexRuns{});
    }
    if (is_plain) return ShardDim{0};
    return owners;
}

Placement experts_of(const Parameter& parameter, const ModelConfig& config, std::int64_t ep,
                     const RuleOptions& options) {
    if (options.expert_map.empty()) return dealt(config.router.num_experts, ep, options.expert_order);
    const auto before = std::count(config.mlp.begin(), config.mlp.begin() + *parameter.layer, MlpKind::moe);
    const bool alike = options.expert_map.size() == 1;
    return mapped(options.expert_map[alike ? 0 : static_cast<std::size_t>(before)], ep);
}

// Rows of wk and wv where there are more tp ranks than kv heads.
Placement replicated_heads(std::int64_t kv_heads, std::int64_t head_dim, std::int64_t tp) {
    Owners owners{.dim = 0, .runs = {}, .redundant = true};
    for (std::int64_t rank = 0; rank < tp; ++rank) {
        const std::int64_t head = rank / (tp / kv_heads);
        owners.runs.push_back({{head * head_dim, (head + 1) * head_dim}});
    }
    return owners;
}

// Experts' tensor parallelism: over all dp*tp ranks where there is no expert parallelism.
std::int64_t expert_tp(const ParallelDims& dims) { return dims.ep() > 1 ? 1 : dims.dp_shard() * dims.tp(); }

}  // namespace

void check(const ParallelDims& dims, const ModelConfig& config, const RuleOptions& options) {
    check_inference_degrees(dims, "vllm");
    std::visit([&](const auto& spec) { check_heads(heads_of(spec), dims.tp()); }, config.attention);
    require_divides("--tp", dims.tp(), padded_to(config.vocab_size, kVocabularyMultiple), "the padded vocab_size");
    if (has_dense_mlp(config)) require_divides("--tp", dims.tp(), config.dense_intermediate_size, "intermediate_size");
    if (!has_experts(config)) return;
    // A map may have more slots than there are experts, and so more ranks.
    if (options.expert_map.empty()) check_expert_parallel(dims, config);
    if (dims.tp() > config.router.num_experts)
        refuse("--tp", dims.tp(), "must be <= num_experts (" + std::to_string(config.router.num_experts) + ")");
    if (config.shared_intermediate_size > 0)
        require_divides("--tp", dims.tp(), config.shared_intermediate_size, "the shared expert's intermediate_size");
    if (config.moe_intermediate_size % expert_tp(dims) != 0) {
        refuse("--dp-shard", dims.dp_shard(),
               "times tp must divide moe_intermediate_size (" + std::to_string(config.moe_intermediate_size) +
                   ") without expert parallelism");
    }
    check_map(dims, config, options);
}

std::optional<ParamPlacement> place(const Parameter& parameter, const ModelConfig& config, const ParallelDims& dims,
                                    const RuleOptions& options) {
    const Role role = parameter.role;
    if (is_routed_expert(role)) {
        ParamPlacement placed{MeshKind::sparse, std::vector<Placement>(kNumSparseAxes, Replicate{})};
        if (dims.ep() > 1) placed.placements[kEpAxis] = experts_of(parameter, config, dims.ep(), options);
        if (expert_tp(dims) > 1) placed.placements[kEtpAxis] = ShardDim{hidden_width_dim(role)};
        return placed;
    }
    std::optional<ParamPlacement> placed = place_model_parallel(role, dims);
    if (!placed || dims.tp() == 1) return placed;
    if (role == Role::tok_embeddings || role == Role::lm_head)
        placed->placements[kTpAxis] = padded_vocabulary(config.vocab_size, kVocabularyMultiple, dims.tp());
    const Heads heads = config.heads();
    if ((role == Role::wk || role == Role::wv) && dims.tp() > heads.num_kv_heads)
        placed->placements[kTpAxis] = replicated_heads(heads.num_kv_heads, heads.head_dim, dims.tp());
    return placed;
}

Meshes meshes(const ParallelDims& dims) { return make_meshes_with_etp(dims, expert_tp(dims)); }

}  // namespace shardproof::vllm
