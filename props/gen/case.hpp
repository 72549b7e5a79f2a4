// Case: one generated experiment as plain data, printed as one word that replays it.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "oracle/model/config.hpp"
#include "oracle/model/result.hpp"
#include "sim/plan/parallel_dims.hpp"
#include "sim/plan/rules/rule_set.hpp"

namespace shardproof::props {

// How the router's weights are made.
enum class RoutingFlavour : std::uint8_t {
    random,
    exact_ties,   // experts 2i and 2i+1 have equal gate rows: equal scores for every token
    all_to_one,   // one expert is chosen first by every token
    some_unused,  // the last experts are chosen by none, as far as top_k allows
};

struct CaseModel {
    std::string family = "qwen3_moe";        // or llama4, llama4_text
    std::int64_t hidden = 8;
    std::int64_t layers = 1;
    std::int64_t heads = 1;
    std::int64_t kv_heads = 1;
    std::int64_t head_dim = 2;
    std::int64_t experts = 1;
    std::int64_t top_k = 1;
    std::int64_t moe_hidden = 1;
    std::int64_t dense_hidden = 1;
    std::int64_t vocab = 1;
    bool tied = false;
    bool norm_topk = false;
    ScoreFunction score = ScoreFunction::softmax;
    ScoreOn score_on = ScoreOn::output;
    double scale = 1.0;
    std::vector<std::int64_t> dense_layers;  // ascending
    RopeScaling rope = RopeScaling::none;
    double eps = 1e-6;
    DType dtype = DType::F32;                // F32, BF16 or F16
    std::uint64_t seed = 0;                  // of weights and token ids
    RoutingFlavour routing = RoutingFlavour::random;
    std::int64_t files = 1;
    // Of a Llama 4 alone.
    std::int64_t shared_hidden = 1;          // of the shared expert
    std::vector<std::int64_t> no_rope_layers = {};  // ascending
    std::int64_t chunk = 0;                  // of layers with RoPE; 0: longer than any sequence
    std::int64_t floor_scale = 0;            // of the queries' temperature; 0: it has none
    bool qk_norm = true;
    bool operator==(const CaseModel&) const = default;
    [[nodiscard]] bool is_llama4() const { return family != "qwen3_moe"; }
};

struct CaseLayout {
    std::string rules = "titan-train";
    std::int64_t dp_replicate = 1;
    std::int64_t dp_shard = 1;
    std::int64_t tp = 1;
    std::int64_t ep = 1;
    std::int64_t etp = 1;                       // megatron only
    bool sequence_parallel = false;
    ExpertOrder expert_order = ExpertOrder::linear;  // vllm only, and the map as well
    std::vector<std::int64_t> expert_map = {};  // slot -> expert, of all layers; empty: by expert_order
    bool operator==(const CaseLayout&) const = default;
    [[nodiscard]] std::int64_t num_dp() const { return dp_replicate * dp_shard; }
    [[nodiscard]] std::int64_t world() const { return num_dp() * tp; }
};

struct CaseSequence {
    std::int64_t dp_idx = 0;
    std::int64_t length = 0;
    bool operator==(const CaseSequence&) const = default;
};

// The default is the smallest case there is.
struct Case {
    CaseModel model;
    CaseLayout layout;
    std::vector<CaseSequence> sequences;
    Arithmetic arithmetic = Arithmetic::f32;
    std::uint64_t scheduler_seed = 0;
    bool operator==(const Case&) const = default;
};

// "rules=titan-train,dp_shard=2,ep=2,experts=4,seqs=0:3+1:0": one word that no shell takes apart. What is left out has
// its value in the smallest case.
[[nodiscard]] std::string print_case(const Case& c);
// Words are separated by commas or white space. Throws InputError naming the key: unknown, twice, mistyped, or a case
// that is not valid.
[[nodiscard]] Case parse_case(std::string_view line);

// Throws InputError for what no model, layout or rule set takes, and for what is not small: parameters times (ranks +
// tokens) are at most 2^27.
void require_valid(const Case& c);
[[nodiscard]] bool is_valid(const Case& c);

[[nodiscard]] ParallelDims dims_of(const CaseLayout& layout);
[[nodiscard]] RuleOptions options_of(const CaseLayout& layout);
// Whether device ranks run it: they know no experts cut in parts after dispatch, no expert held twice and none shared.
[[nodiscard]] bool runs_on_devices(const Case& c);
[[nodiscard]] ModelConfig config_of(const CaseModel& model);
[[nodiscard]] std::int64_t num_tokens(const Case& c);

}  // namespace shardproof::props
