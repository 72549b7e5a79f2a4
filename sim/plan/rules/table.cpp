#include <array>

#include "oracle/model/error.hpp"
#include "sim/plan/rules/titan.hpp"

namespace shardproof {
namespace {

constexpr std::array kRuleSets{
    RuleSet{"titan-infer",
            "TorchTitan's generator: TP, replicated over data-parallel ranks; experts over all dp*tp ranks",
            titan_infer::check, titan_infer::place},
    RuleSet{"titan-train", "TorchTitan training: TP, then FSDP; experts EP, then FSDP", titan_train::check,
            titan_train::place},
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

}  // namespace shardproof
