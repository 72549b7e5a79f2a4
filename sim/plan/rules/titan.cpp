#include "sim/plan/rules/titan.hpp"

#include <algorithm>
#include <array>

#include "oracle/model/error.hpp"

namespace shardproof {
namespace {

enum class When : std::uint8_t { always, ep_off, ep_on };

// A role lies on the mesh of its axis, cut along `dim`, or whole where there is none.
struct Rule {
    Role role;
    When when;
    Axis axis;
    std::optional<std::size_t> dim;
};

constexpr std::array kRules{
    Rule{Role::tok_embeddings, When::always, Axis::tp, 0},
    Rule{Role::attention_norm, When::always, Axis::tp, std::nullopt},
    Rule{Role::wq, When::always, Axis::tp, 0},
    Rule{Role::wk, When::always, Axis::tp, 0},
    Rule{Role::wv, When::always, Axis::tp, 0},
    Rule{Role::wo, When::always, Axis::tp, 1},
    Rule{Role::q_norm, When::always, Axis::tp, std::nullopt},
    Rule{Role::k_norm, When::always, Axis::tp, std::nullopt},
    Rule{Role::ffn_norm, When::always, Axis::tp, std::nullopt},
    Rule{Role::ffn_w1, When::always, Axis::tp, 0},
    Rule{Role::ffn_w2, When::always, Axis::tp, 1},
    Rule{Role::ffn_w3, When::always, Axis::tp, 0},
    Rule{Role::router_gate, When::always, Axis::tp, std::nullopt},
    Rule{Role::expert_bias, When::always, Axis::tp, std::nullopt},
    Rule{Role::expert_w1, When::ep_off, Axis::tp, 1},
    Rule{Role::expert_w2, When::ep_off, Axis::tp, 2},
    Rule{Role::expert_w3, When::ep_off, Axis::tp, 1},
    Rule{Role::expert_w1, When::ep_on, Axis::ep, 0},
    Rule{Role::expert_w2, When::ep_on, Axis::ep, 0},
    Rule{Role::expert_w3, When::ep_on, Axis::ep, 0},
    Rule{Role::shared_w1, When::always, Axis::tp, 0},
    Rule{Role::shared_w2, When::always, Axis::tp, 1},
    Rule{Role::shared_w3, When::always, Axis::tp, 0},
    Rule{Role::final_norm, When::always, Axis::tp, std::nullopt},
    Rule{Role::lm_head, When::always, Axis::tp, 0},
};

// Where tp and ep stand among the axes of the dense and of the sparse mesh (make_meshes).
constexpr std::size_t kNumAxes = 4;
constexpr std::size_t kInnermost = 3;

[[noreturn]] void refuse(const char* option, std::int64_t value, std::string rule) {
    throw InputError{{"command line", option, std::to_string(value), std::move(rule)}};
}

void check_heads(const ParallelDims& dims, const Heads& heads) {
    if (heads.num_heads % dims.tp() != 0) {
        refuse("--tp", dims.tp(), "must divide num_attention_heads (" + std::to_string(heads.num_heads) + ")");
    }
    if (heads.num_kv_heads % dims.tp() != 0) {
        refuse("--tp", dims.tp(), "must divide num_key_value_heads (" + std::to_string(heads.num_kv_heads) + ")");
    }
}

}  // namespace

std::optional<ParamPlacement> place_model_parallel(Role role, const ParallelDims& dims) {
    const When now = dims.ep() > 1 ? When::ep_on : When::ep_off;
    const auto* const rule = std::find_if(kRules.begin(), kRules.end(), [&](const Rule& row) {
        return row.role == role && (row.when == When::always || row.when == now);
    });
    if (rule == kRules.end()) return std::nullopt;
    const bool sparse = rule->axis == Axis::ep;
    ParamPlacement placed{sparse ? MeshKind::sparse : MeshKind::dense, std::vector<Placement>(kNumAxes, Replicate{})};
    if (rule->dim && (sparse ? dims.ep() : dims.tp()) > 1) placed.placements[kInnermost] = ShardDim{*rule->dim};
    return placed;
}

std::size_t hidden_width_dim(Role role) { return role == Role::expert_w2 ? 2 : 1; }

bool has_experts(const ModelConfig& config) { return config.first_moe_layer().has_value(); }

bool has_dense_mlp(const ModelConfig& config) {
    return std::find(config.mlp.begin(), config.mlp.end(), MlpKind::dense) != config.mlp.end();
}

void require_one(const char* option, std::int64_t degree, const char* rules) {
    if (degree != 1) refuse(option, degree, std::string{"must be 1 for rules "} + rules);
}

void check_expert_parallel(const ParallelDims& dims, const ModelConfig& config) {
    if (has_experts(config) && dims.ep() > config.router.num_experts) {
        refuse("--ep", dims.ep(), "must be <= num_experts (" + std::to_string(config.router.num_experts) + ")");
    }
}

void check_model_parallel(const ParallelDims& dims, const ModelConfig& config) {
    std::visit([&](const auto& spec) { check_heads(dims, heads_of(spec)); }, config.attention);
    check_expert_parallel(dims, config);
}

void check_inference_degrees(const ParallelDims& dims, const char* rules) {
    require_one("--dp-replicate", dims.dp_replicate(), rules);
    require_one("--cp", dims.cp(), rules);
    require_one("--pp", dims.pp(), rules);
    const std::int64_t all = dims.dp_shard() * dims.tp();
    if (dims.ep() != 1 && dims.ep() != all) {
        refuse("--ep", dims.ep(), "must be 1 or dp_shard*tp (" + std::to_string(all) + ") for rules " + rules);
    }
}

void check_as_titan_infer(const ParallelDims& dims, const ModelConfig& config, const char* rules) {
    check_inference_degrees(dims, rules);
    check_model_parallel(dims, config);
}

}  // namespace shardproof
