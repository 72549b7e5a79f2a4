#include <array>

#include "oracle/model/error.hpp"
#include "sim/plan/rules/peers.hpp"
#include "sim/plan/rules/pr_3143.hpp"
#include "sim/plan/rules/titan.hpp"

namespace shardproof {
namespace {

constexpr std::array kRuleSets{
    RuleSet{"titan-infer",
            "TorchTitan's generator: TP, replicated over data-parallel ranks; experts over all dp*tp ranks",
            titan_infer::check, titan_infer::place},
    RuleSet{"titan-train", "TorchTitan training: TP, then FSDP; experts EP, then FSDP", titan_train::check,
            titan_train::place},
    RuleSet{
        "titan-infer-fsdp",
        "inference on FSDP's meshes: TP, then FSDP over (dp_replicate, fsdp); experts EP, then (dp_replicate, efsdp)",
        titan_infer_fsdp::check, titan_infer_fsdp::place},
    RuleSet{"vllm", "vLLM: TP, replicated over data-parallel ranks; experts over all dp*tp ranks, whole or cut",
            vllm::check, vllm::place, vllm::meshes, false, true},
    RuleSet{"megatron",
            "Megatron-Core's parallel folding: TP, replicated over the rest; experts EP and a TP of their own",
            megatron::check, megatron::place, megatron::meshes, true, false},
    RuleSet{"pr-3143", "the specimen: TorchTitan's change #3143 as written, to look at; check and load refuse it",
            pr_3143::check, pr_3143::place, pr_3143::meshes},
};

}  // namespace

std::string_view name_of(MeshKind kind) { return kind == MeshKind::dense ? "dense" : "sparse"; }

std::span<const RuleSet> rule_sets() { return kRuleSets; }

const RuleSet& rule_set_named(std::string_view name) {
    std::string names;
    for (const RuleSet& rules : kRuleSets) {
        if (rules.name == name) return rules;
        if (!names.empty()) names += ", ";
        names += rules.name;
    }
    throw InputError{{"command line", "--rules", std::string{name}, "must be one of " + names}};
}

void check_rules(const RuleSet& rules, const ParallelDims& dims, const ModelConfig& config,
                 const RuleOptions& options) {
    const std::string name{rules.name};
    if (dims.has_etp() && !rules.takes_etp)
        throw InputError{{"command line", "--etp", std::to_string(dims.etp()), "must not be given for rules " + name}};
    if (!options.are_default() && !rules.takes_options) {
        const bool map = !options.expert_map.empty();
        throw InputError{{"command line", map ? "--expert-map" : "--vllm-expert-placement-strategy",
                          map ? options.expert_map_file : "round_robin", "must not be given for rules " + name}};
    }
    rules.check(dims, config, options);
}

}  // namespace shardproof
