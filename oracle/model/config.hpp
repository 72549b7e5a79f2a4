// ModelConfig: the architecture as validated data. Parsed once from config.json, immutable, always valid: no other
// function re-checks it.
#pragma once
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "oracle/model/tensor.hpp"

namespace shardproof {

enum class ScoreFunction : std::uint8_t { softmax, sigmoid };
// Where the routing weight multiplies: the expert's output (Qwen3-MoE) or its input (Llama 4).
enum class ScoreOn : std::uint8_t { output, input };
// What the top k are taken of: scores, or the logits beneath them, which rounding does not make equal.
enum class ChooseBy : std::uint8_t { scores, logits };

struct RouterSpec {
    std::int64_t num_experts = 0;
    std::int64_t top_k = 0;
    ScoreFunction score = ScoreFunction::softmax;
    bool norm_topk = false;  // divide the chosen weights by their sum
    double scale = 1.0;      // multiplies every weight, after the norm
    ScoreOn score_on = ScoreOn::output;
    ChooseBy choose_by = ChooseBy::scores;
    bool operator==(const RouterSpec&) const = default;
};

// RoPE's frequency table and its published scalings, as transformers' modeling_rope_utils defines them.
enum class RopeScaling : std::uint8_t { none, linear, dynamic, yarn, llama3 };
// Which two dims of a head turn together: d and d + head_dim/2, or neighbours 2d and 2d + 1.
enum class RopePairs : std::uint8_t { halves, neighbours };
struct RopeSpec {
    double theta = 10000.0;
    RopeScaling scaling = RopeScaling::none;
    double factor = 1.0;
    std::int64_t max_position_embeddings = 0;           // dynamic
    std::int64_t original_max_position_embeddings = 0;  // yarn, llama3
    std::optional<double> attention_factor = {};        // yarn: given, else derived
    double beta_fast = 32.0;                            // yarn
    double beta_slow = 1.0;                             // yarn
    std::optional<double> mscale = {};                  // yarn
    std::optional<double> mscale_all_dim = {};          // yarn
    bool truncate = true;                               // yarn: round the correction range to whole dims
    double low_freq_factor = 1.0;                       // llama3
    double high_freq_factor = 4.0;                      // llama3
    RopePairs pairs = RopePairs::halves;
    bool operator==(const RopeSpec&) const = default;
};

// Query heads, and the key and value heads that groups of them share.
struct Heads {
    std::int64_t num_heads = 0;
    std::int64_t num_kv_heads = 0;  // divides num_heads
    std::int64_t head_dim = 0;      // even
};

// Multi-head attention whose query heads share key and value heads.
struct GroupedQueryAttention {
    std::int64_t num_heads = 0;
    std::int64_t num_kv_heads = 0;  // divides num_heads
    std::int64_t head_dim = 0;      // even
    bool qk_norm = false;           // RMSNorm over head_dim, before RoPE
    RopeSpec rope;
    bool operator==(const GroupedQueryAttention&) const = default;
};
// Llama 4: scores of queries grow with the logarithm of their position.
struct QueryTemperature {
    std::int64_t floor_scale = 1;  // a query at position p is multiplied by
    double attn_scale = 0.0;       // log1p(floor((p + 1) / floor_scale)) * attn_scale + 1
    bool operator==(const QueryTemperature&) const = default;
};

// Llama 4's attention, which differs by layer: with RoPE or without, over the whole sequence or within chunks of it.
struct Llama4Attention {
    std::int64_t num_heads = 0;
    std::int64_t num_kv_heads = 0;    // divides num_heads
    std::int64_t head_dim = 0;        // even
    RopeSpec rope;
    bool qk_norm = false;             // RMSNorm over head_dim without weights, after RoPE; in layers with RoPE only
    std::int64_t chunk_size = 1;      // a token sees those of its own chunk of so many positions
    std::optional<QueryTemperature> temperature = {};  // in layers without RoPE only
    std::vector<bool> rope_layers;    // one entry a layer
    std::vector<bool> chunked_layers; // one entry a layer
    bool operator==(const Llama4Attention&) const = default;
    [[nodiscard]] bool has_rope(std::int64_t layer) const { return rope_layers[static_cast<std::size_t>(layer)]; }
    [[nodiscard]] bool is_chunked(std::int64_t layer) const { return chunked_layers[static_cast<std::size_t>(layer)]; }
};

[[nodiscard]] constexpr Heads heads_of(const Llama4Attention& spec) {
    return {.num_heads = spec.num_heads, .num_kv_heads = spec.num_kv_heads, .head_dim = spec.head_dim};
}
[[nodiscard]] constexpr Heads heads_of(const GroupedQueryAttention& spec) {
    return {.num_heads = spec.num_heads, .num_kv_heads = spec.num_kv_heads, .head_dim = spec.head_dim};
}

// One alternative an attention. Where the maths differs it is visited, so an attention without maths of its own in the
// oracle, the judge, the virtual ranks or the rule sets does not compile.
using AttentionSpec = std::variant<GroupedQueryAttention, Llama4Attention>;

enum class MlpKind : std::uint8_t { dense, moe };

struct ModelConfig {
    std::string family;  // model_type, e.g. "qwen3_moe"
    std::int64_t num_layers = 0;
    std::int64_t hidden_size = 0;              // D
    std::int64_t vocab_size = 0;               // V
    std::int64_t dense_intermediate_size = 0;  // hidden width of a dense layer's MLP
    std::int64_t moe_intermediate_size = 0;    // F, hidden width of one expert
    std::int64_t shared_intermediate_size = 0; // Fs, of the expert that every token goes through; 0: there is none
    double rms_norm_eps = 1e-6;
    bool tie_embeddings = false;               // the head is the embedding matrix
    AttentionSpec attention;
    RouterSpec router;
    std::vector<MlpKind> mlp;                  // one entry a layer
    std::optional<DType> dtype;                // the config's word for it; tensors decide where there are any

    bool operator==(const ModelConfig&) const = default;
    [[nodiscard]] bool is_moe(std::int64_t layer) const { return mlp[static_cast<std::size_t>(layer)] == MlpKind::moe; }
    [[nodiscard]] std::optional<std::int64_t> first_moe_layer() const {
        const auto found = std::find(mlp.begin(), mlp.end(), MlpKind::moe);
        return found == mlp.end() ? std::nullopt : std::optional<std::int64_t>{found - mlp.begin()};
    }
    // What every attention has, whatever its kind.
    [[nodiscard]] Heads heads() const;
    [[nodiscard]] const RopeSpec& rope() const;
    // The attention of a family that has this kind; throws std::bad_variant_access for another.
    [[nodiscard]] const GroupedQueryAttention& grouped_query() const {
        return std::get<GroupedQueryAttention>(attention);
    }
    [[nodiscard]] GroupedQueryAttention& grouped_query() { return std::get<GroupedQueryAttention>(attention); }
};

// Reads and validates a config.json (published spelling or transformers 5's). `file` names it in errors.
// Throws InputError naming the field: missing, mistyped, out of range, unknown family, or unknown and so maybe changing
// the maths.
[[nodiscard]] ModelConfig parse_config(std::string_view json_text, const std::string& file);
[[nodiscard]] ModelConfig read_config(const std::filesystem::path& file);

// The same model cut to its first `num_layers` layers; embeddings, final norm and head stay. Throws InputError for a
// number outside 1 .. config.num_layers.
[[nodiscard]] ModelConfig first_layers(ModelConfig config, std::int64_t num_layers);

}  // namespace shardproof
