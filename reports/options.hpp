// Options that several commands share, spelled as the contract spells them.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "reports/command.hpp"
#include "reports/option_set.hpp"
#include "sim/plan/given_layout.hpp"
#include "sim/plan/parallel_dims.hpp"
#include "sim/plan/plan.hpp"
#include "sim/plan/rules/rule_set.hpp"

namespace shardproof::reports {

// As typed. vLLM's words and ours exclude each other.
struct LayoutOptions {
    std::optional<std::int64_t> dp_replicate, dp_shard, cp, tp, pp, ep, etp;
    std::optional<std::int64_t> world;
    std::optional<std::int64_t> vllm_data_parallel, vllm_tensor_parallel;
    bool vllm_expert_parallel = false;
    bool sequence_parallel = false;
    std::string expert_placement;  // linear, round_robin, or none
    std::optional<std::filesystem::path> expert_map;
    std::optional<std::string> rules;  // titan-infer
    std::optional<std::filesystem::path> placements;
};

struct Layout {
    ParallelDims dims;
    const RuleSet* rules;
    RuleOptions options;
    std::string note;  // how vLLM's words were taken
    std::optional<GivenLayout> given = std::nullopt;  // that of --placements, instead of rules
};

void add_model(OptionSet& set, std::filesystem::path& model);
void add_layout(OptionSet& set, LayoutOptions& options);
// For commands that take a layout that another program decided.
void add_placements(OptionSet& set, LayoutOptions& options);
void add_layers(OptionSet& set, std::optional<std::int64_t>& layers);
void add_json(OptionSet& set, std::string& target);

// Whether a layout was typed.
[[nodiscard]] bool has_layout(const LayoutOptions& options);
// Checks and completes what was typed. Throws InputError.
[[nodiscard]] Layout layout_of(const LayoutOptions& options);
// What the tensors' dtype contradicts in config.json; empty where they agree.
[[nodiscard]] std::string dtype_note(const ModelConfig& config, DType of_tensors);
// Notes and warnings, to the console's `err`: once nothing can be refused any more, since a refusal is one line.
void print_notes(const Layout& layout, const Plan& plan, const Console& console);
// That the tensors of a vision model beside this one are left alone; at the same time.
void print_vision_note(const ModelConfig& config, const Checkpoint& checkpoint, const Console& console);

// "linear" or "round_robin"; throws InputError.
[[nodiscard]] ExpertOrder expert_order_named(const std::string& name);
// vLLM's placement of experts with redundant ones: a JSON file {"physical_to_logical_map": LIST}, where LIST has an
// expert a slot, for all MoE layers, or one such list for each. Throws InputError naming the field.
[[nodiscard]] std::vector<std::vector<std::int64_t>> read_expert_map(const std::filesystem::path& file);

// Throws InputError where MODEL is there and no directory.
void require_directory(const std::filesystem::path& model);

}  // namespace shardproof::reports
