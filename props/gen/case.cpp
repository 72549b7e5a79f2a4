#include "props/gen/case.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

#include "oracle/model/error.hpp"

namespace shardproof::props {

namespace {

[[noreturn]] void refuse(std::string_view field, const std::string& value, std::string_view rule) {
    throw InputError({.file = "case", .field = std::string{field}, .value = value, .rule = std::string{rule}});
}

void require_range(std::string_view field, std::int64_t value, std::int64_t min, std::int64_t max) {
    if (value >= min && value <= max) return;
    refuse(field, std::to_string(value), "must be from " + std::to_string(min) + " to " + std::to_string(max));
}

constexpr std::int64_t kSizeMax = 4096;   // of one dim: a case is small
constexpr std::int64_t kRanksMax = 1024;  // of one degree
constexpr std::int64_t kLengthMax = 4096;
constexpr std::int64_t kWorldMax = 4096;
constexpr std::int64_t kTokensMax = 65536;
constexpr double kWorkMax = 0x1p27;       // parameters, once a rank and a token
constexpr double kScaleMax = 16;

void require_sizes(const CaseModel& m) {
    require_range("hidden", m.hidden, 1, kSizeMax);
    require_range("layers", m.layers, 1, 64);
    require_range("heads", m.heads, 1, kSizeMax);
    require_range("kv_heads", m.kv_heads, 1, kSizeMax);
    require_range("head_dim", m.head_dim, 2, kSizeMax);
    require_range("experts", m.experts, 1, kSizeMax);
    require_range("top_k", m.top_k, 1, m.experts);
    require_range("moe_hidden", m.moe_hidden, 1, kSizeMax);
    require_range("dense_hidden", m.dense_hidden, 1, kSizeMax);
    require_range("vocab", m.vocab, 1, kSizeMax);
    require_range("files", m.files, 1, 16);
}

void require_layers(std::string_view field, const std::vector<std::int64_t>& layers, std::int64_t num_layers) {
    for (const std::int64_t layer : layers) require_range(field, layer, 0, num_layers - 1);
    if (std::ranges::adjacent_find(layers, std::greater_equal{}) != layers.end()) refuse(field, "", "must ascend");
}

// What Llama 4 has, and others have not.
void require_llama4(const CaseModel& m) {
    require_range("shared_hidden", m.shared_hidden, 1, kSizeMax);
    require_layers("no_rope_layers", m.no_rope_layers, m.layers);
    require_range("chunk", m.chunk, 0, kLengthMax);
    require_range("floor_scale", m.floor_scale, 0, kLengthMax);
    const CaseModel plain;
    const auto same = [](const CaseModel& model) {
        return std::tie(model.shared_hidden, model.no_rope_layers, model.chunk, model.floor_scale, model.qk_norm);
    };
    if (!m.is_llama4() && same(m) != same(plain))
        refuse("family", m.family,
               "must be llama4 or llama4_text with a shared_hidden, no_rope_layers, chunk, "
               "floor_scale or qk_norm of its own");
}

void require_model(const CaseModel& m) {
    if (family_named(m.family) == nullptr) refuse("family", m.family, "must be qwen3_moe, llama4 or llama4_text");
    require_sizes(m);
    require_llama4(m);
    if (m.heads % m.kv_heads != 0) refuse("kv_heads", std::to_string(m.kv_heads), "must divide heads");
    if (m.head_dim % 2 != 0) refuse("head_dim", std::to_string(m.head_dim), "must be even");
    if (m.rope == RopeScaling::dynamic) require_range("head_dim", m.head_dim, 4, kSizeMax);
    require_layers("dense_layers", m.dense_layers, m.layers);
    if (!(m.eps > 0 && m.eps < 1)) refuse("eps", std::to_string(m.eps), "must be above 0 and below 1");
    if (!(std::abs(m.scale) <= kScaleMax)) refuse("scale", std::to_string(m.scale), "must be from -16 to 16");
    if (m.dtype != DType::F32 && m.dtype != DType::BF16 && m.dtype != DType::F16)
        refuse("dtype", std::string{name_of(m.dtype)}, "must be one of F32, BF16, F16");
}

// As a real number: no product of sizes passes its range.
double num_parameters(const CaseModel& m) {
    const auto hidden = static_cast<double>(m.hidden);
    const auto dense = static_cast<double>(m.dense_layers.size());
    const double attention = hidden * static_cast<double>(m.head_dim) * 2 * static_cast<double>(m.heads + m.kv_heads);
    const double expert = hidden * (3 * static_cast<double>(m.moe_hidden) + 1);
    return 2 * static_cast<double>(m.vocab) * hidden + static_cast<double>(m.layers) * attention +
           (static_cast<double>(m.layers) - dense) * static_cast<double>(m.experts) * expert +
           dense * 3 * hidden * static_cast<double>(m.dense_hidden);
}

void require_small(const Case& c) {
    require_range("ranks", c.layout.world(), 1, kWorldMax);
    require_range("tokens", num_tokens(c), 0, kTokensMax);
    const double parameters = num_parameters(c.model);
    const auto times = static_cast<double>(c.layout.world() + num_tokens(c));
    if (parameters * times <= kWorkMax) return;
    refuse("parameters", fmt::format("{:.0f}", parameters),
           fmt::format("must be at most {:.0f} with so many ranks and tokens: a case is small",
                       std::floor(kWorkMax / times)));
}

// Yarn and llama3 with the constants that their published users have, over a short original context: its end lies
// within reach of a case's positions.
RopeSpec rope_of(RopeScaling scaling) {
    RopeSpec rope;
    rope.theta = 100.0;
    rope.scaling = scaling;
    rope.max_position_embeddings = scaling == RopeScaling::dynamic ? 3 : 64;
    if (scaling != RopeScaling::none) rope.factor = 4.0;
    if (scaling == RopeScaling::yarn || scaling == RopeScaling::llama3) rope.original_max_position_embeddings = 16;
    if (scaling == RopeScaling::llama3) rope.high_freq_factor = 4.0;
    return rope;
}

}  // namespace

ParallelDims dims_of(const CaseLayout& layout) {
    RawDims raw;
    raw.dp_replicate = layout.dp_replicate;
    raw.dp_shard = layout.dp_shard;
    raw.tp = layout.tp;
    raw.ep = layout.ep;
    if (layout.rules == "megatron" || layout.etp != 1) raw.etp = layout.etp;
    raw.sequence_parallel = layout.sequence_parallel;
    return ParallelDims::parse(raw);
}

RuleOptions options_of(const CaseLayout& layout) {
    RuleOptions options{.expert_order = layout.expert_order, .expert_map = {}, .expert_map_file = "case"};
    if (!layout.expert_map.empty()) options.expert_map = {layout.expert_map};
    return options;
}

bool runs_on_devices(const Case& c) {
    const CaseLayout& layout = c.layout;
    if (c.model.is_llama4()) return false;
    if (layout.rules != "vllm" && layout.rules != "megatron") return true;
    return layout.ep > 1 && layout.etp == 1 && layout.expert_map.empty();
}

namespace {

AttentionSpec attention_of(const CaseModel& m) {
    if (!m.is_llama4()) {
        return GroupedQueryAttention{.num_heads = m.heads,
                                     .num_kv_heads = m.kv_heads,
                                     .head_dim = m.head_dim,
                                     .qk_norm = true,
                                     .rope = rope_of(m.rope)};
    }
    Llama4Attention spec{.num_heads = m.heads,
                         .num_kv_heads = m.kv_heads,
                         .head_dim = m.head_dim,
                         .rope = rope_of(m.rope),
                         .qk_norm = m.qk_norm,
                         .chunk_size = m.chunk == 0 ? kLengthMax : m.chunk,
                         .rope_layers = {},
                         .chunked_layers = {}};
    spec.rope.pairs = RopePairs::neighbours;
    if (m.floor_scale > 0) spec.temperature = {.floor_scale = m.floor_scale, .attn_scale = 0.5};
    spec.rope_layers.assign(static_cast<std::size_t>(m.layers), true);
    for (const std::int64_t layer : m.no_rope_layers) spec.rope_layers[static_cast<std::size_t>(layer)] = false;
    spec.chunked_layers = spec.rope_layers;
    return spec;
}

}  // namespace

ModelConfig config_of(const CaseModel& m) {
    ModelConfig config;
    config.family = m.family;
    config.num_layers = m.layers;
    config.hidden_size = m.hidden;
    config.vocab_size = m.vocab;
    config.dense_intermediate_size = m.dense_hidden;
    config.moe_intermediate_size = m.moe_hidden;
    config.rms_norm_eps = m.eps;
    config.tie_embeddings = m.tied;
    if (m.is_llama4()) config.shared_intermediate_size = m.shared_hidden;
    config.attention = attention_of(m);
    config.router.num_experts = m.experts;
    config.router.top_k = m.top_k;
    config.router.norm_topk = m.norm_topk;
    config.router.score = m.score;
    config.router.score_on = m.score_on;
    config.router.scale = m.scale;
    if (m.is_llama4()) config.router.choose_by = ChooseBy::logits;
    config.mlp.assign(static_cast<std::size_t>(m.layers), MlpKind::moe);
    for (const std::int64_t layer : m.dense_layers) config.mlp[static_cast<std::size_t>(layer)] = MlpKind::dense;
    config.dtype = m.dtype;
    return config;
}

std::int64_t num_tokens(const Case& c) {
    return std::accumulate(c.sequences.begin(), c.sequences.end(), std::int64_t{0},
                           [](std::int64_t sum, const CaseSequence& s) { return sum + s.length; });
}

void require_valid(const Case& c) {
    require_model(c.model);
    require_range("dp_replicate", c.layout.dp_replicate, 1, kRanksMax);
    require_range("dp_shard", c.layout.dp_shard, 1, kRanksMax);
    require_range("tp", c.layout.tp, 1, kRanksMax);
    require_range("etp", c.layout.etp, 1, kRanksMax);
    for (const CaseSequence& sequence : c.sequences) {
        require_range("seqs", sequence.dp_idx, 0, c.layout.num_dp() - 1);
        require_range("seqs", sequence.length, 0, kLengthMax);
    }
    require_small(c);
    if (c.layout.rules == "pr-3143") refuse("rules", c.layout.rules, "must be a rule set that runs");
    const ParallelDims dims = dims_of(c.layout);
    check_rules(rule_set_named(c.layout.rules), dims, config_of(c.model), options_of(c.layout));
}

bool is_valid(const Case& c) {
    try {
        require_valid(c);
        return true;
    } catch (const InputError&) {
        return false;
    }
}

}  // namespace shardproof::props
