#include "reports/forward_options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <variant>
#include <vector>

#include "oracle/model/error.hpp"
#include "reports/memory.hpp"
#include "reports/text.hpp"
#include "sim/memory.hpp"

namespace shardproof::reports {
namespace {

InputError wrong_word(std::string field, const std::string& value, std::string rule) {
    return InputError({"command line", std::move(field), shortened(value), std::move(rule)});
}

struct StageElements {
    std::uint64_t whole = 0;     // of the model
    std::uint64_t gathered = 0;  // on all ranks together, each with what it computes with
};

// How often an element of a parameter is held by ranks that compute with it; shards that FSDP cut are gathered first.
std::int64_t num_computed_copies(const Plan& plan, const ParamPlan& param) {
    const std::vector<MeshAxis>& axes = plan.mesh(param.placement.mesh).axes();
    std::int64_t copies = 1;
    for (std::size_t i = 0; i < axes.size(); ++i) {
        const bool gathered = axes[i].axis == Axis::fsdp || axes[i].axis == Axis::efsdp;
        const Placement& on_axis = param.placement.placements[i];
        if (const auto* const owners = std::get_if<Owners>(&on_axis)) {
            std::int64_t held = 0;
            for (const IndexRuns& runs : owners->runs) held += num_indices(runs);
            const std::int64_t extent = param.parameter.shape[owners->dim];
            copies *= (held + extent - 1) / extent;
        } else if (gathered || std::holds_alternative<Replicate>(on_axis)) {
            copies *= axes[i].size;
        }
    }
    return copies;
}

StageElements largest_stage(const Plan& plan) {
    std::map<std::int64_t, StageElements> stages;  // by layer; -1: embeddings and head, counted as one
    for (const ParamPlan& param : plan.params) {
        const auto elements = static_cast<std::uint64_t>(num_elements(param.parameter.shape));
        StageElements& stage = stages[param.parameter.layer.value_or(-1)];
        stage.whole += elements;
        stage.gathered += elements * static_cast<std::uint64_t>(num_computed_copies(plan, param));
    }
    StageElements largest;
    for (const auto& [layer, stage] : stages) {
        largest.whole = std::max(largest.whole, stage.whole);
        largest.gathered = std::max(largest.gathered, stage.gathered);
    }
    return largest;
}

}  // namespace

void add_input_ids(OptionSet& set, TokenOptions& options) {
    set.path({"--input-ids", "FILE", "safetensors file with an integer tensor input_ids [B,S]"}, options.input_ids);
}

void add_random_tokens(OptionSet& set, TokenOptions& options) {
    set.integer("--tokens", fmt::format("random tokens instead ({})", kDefaultTokens), options.tokens);
    add_seed(set, "of the random tokens and of the scheduler (0)", options.seed);
}

void add_seed(OptionSet& set, const std::string& help, std::optional<std::int64_t>& seed) {
    set.value({"--seed", "N", help}, [&seed](const std::string& text) {
        seed = parse_integer("--seed", text);
        if (*seed < 0) throw wrong_word("--seed", text, "must be >= 0");
    });
}

void add_dtype(OptionSet& set, std::string& dtype) {
    set.text({"--dtype", "NAME", "arithmetic of the ranks: f32 or bf16 (f32; with --backend gpu bf16)"}, dtype);
}

InputIds input_ids_of(const TokenOptions& options, const ModelConfig& config) {
    if (options.input_ids) {
        if (options.tokens) {
            throw InputError({"command line", "--tokens", std::to_string(*options.tokens),
                              "must not be given together with --input-ids"});
        }
        return read_input_ids(*options.input_ids, config);
    }
    const std::int64_t tokens = options.tokens.value_or(kDefaultTokens);
    if (tokens < 0 || tokens > std::int64_t{1} << 32) {
        throw InputError({"command line", "--tokens", std::to_string(tokens), "must be 0 .. 2^32"});
    }
    require_memory(static_cast<std::uint64_t>(tokens) * 3 * sizeof(std::int64_t), fmt::format("{} token ids", tokens),
                   "fewer --tokens");
    return random_input_ids(tokens, static_cast<std::uint64_t>(options.seed.value_or(0)), config);
}

Backend backend_of(const std::string& name, bool with_oracle) {
    if (name == "sim") return Backend::sim;
    if (name == "oracle" && with_oracle) return Backend::oracle;
    if (name == "gpu") return Backend::gpu;
    throw wrong_word("--backend", name, with_oracle ? "must be oracle, sim or gpu" : "must be sim or gpu");
}

Arithmetic arithmetic_of(const std::string& dtype, Backend backend) {
    if (dtype.empty()) return backend == Backend::gpu ? Arithmetic::bf16 : Arithmetic::f32;
    if (dtype == "f32") return Arithmetic::f32;
    if (dtype == "bf16") return Arithmetic::bf16;
    throw wrong_word("--dtype", dtype, "must be f32 or bf16");
}

Model open_cut_model(const std::filesystem::path& directory, std::optional<std::int64_t> layers) {
    require_directory(directory);
    Model model = open_model(directory);
    if (!layers) return model;
    model.config = first_layers(model.config, *layers);
    model.parameters = family_of(model.config).parameters(model.config);
    return model;
}

std::uint64_t forward_bytes(const Plan& plan, const InputIds& ids, bool with_oracle) {
    const ModelConfig& config = plan.config;
    const auto tokens = static_cast<std::uint64_t>(ids.ids.size());
    const auto hidden = static_cast<std::uint64_t>(config.hidden_size);
    const auto vocab = static_cast<std::uint64_t>(config.vocab_size);
    const auto copies = static_cast<std::uint64_t>(plan.dims.tp());  // every tp rank holds its share's rows

    const auto held = static_cast<std::uint64_t>(sim::stage_bytes_max(plan));
    const StageElements largest = largest_stage(plan);
    const std::uint64_t widened = largest.gathered * sizeof(float);
    const std::uint64_t activations = tokens * copies * 4 * std::max(12 * hidden, 2 * vocab + hidden);
    const std::uint64_t oracle = with_oracle ? largest.whole * 12 + tokens * 8 * std::max(24 * hidden, 3 * vocab) : 0;
    return held + widened + activations + oracle;
}

std::uint64_t oracle_bytes(const ModelConfig& config, const InputIds& ids) {
    const Heads heads = config.heads();
    const std::int64_t hidden = config.hidden_size;
    // Doubles a token that are alive at once, at most. First the stream and its norm, queries and what they gather,
    // keys and values, one of these twice; then the router's scores and slots, an expert's rows, hidden width and
    // output; a dense MLP, or a shared expert beside the routed ones' sum; and last the logits, which are copied out.
    const std::int64_t attention = 3 * hidden + heads.head_dim * 3 * (heads.num_heads + heads.num_kv_heads);
    const std::int64_t experts =
        5 * hidden + 3 * config.moe_intermediate_size + 2 * config.router.num_experts + 5 * config.router.top_k;
    const std::int64_t dense =
        5 * hidden + 3 * std::max(config.dense_intermediate_size, config.shared_intermediate_size);
    const std::int64_t head = hidden + 2 * config.vocab_size;
    const auto a_token = static_cast<std::uint64_t>(std::max({attention, experts, dense, head}));
    const auto rope = static_cast<std::uint64_t>(ids.sequence_length * heads.head_dim);
    const std::uint64_t alive = sizeof(double) * (ids.ids.size() * (a_token + 3) + rope);
    // glibc keeps freed matrices of up to 32 MiB for later ones, which do not always fit: as measured.
    const std::uint64_t kept = std::min<std::uint64_t>(alive / 2, 64 << 20);
    constexpr std::uint64_t kBlocks = 16 << 20;  // of widened weights and of Eigen's packed operands
    return alive + kept + kBlocks;
}

}  // namespace shardproof::reports
