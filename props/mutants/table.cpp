// The table of mutants. What they are modelled on is told in the projects' own issue trackers.
#include <algorithm>
#include <array>

#include "oracle/model/error.hpp"
#include "props/mutants/dispatch_mutants.hpp"
#include "props/mutants/group_mutants.hpp"
#include "props/mutants/loading_mutants.hpp"
#include "props/mutants/mutant.hpp"

namespace shardproof::props {

namespace {

constexpr std::array kMutants{
    Mutant{"m03", "expert communicator built of num_experts ranks instead of ep", "DeepSpeed#7551",
           mutant::communicator_of_num_experts},
    Mutant{"m03-mesh", "expert mesh built with num_experts as its ep degree", "DeepSpeed#7551",
           mutant::mesh_of_num_experts},
    Mutant{"m05", "axis order of ep and efsdp swapped in running, not in loading", "ms-swift#6655",
           mutant::swapped_expert_axes},
    Mutant{"m13", "combine takes rows in dispatched order", "vllm#52639", mutant::combine_in_dispatched_order},
    Mutant{"m15", "a rank without tokens skips the all-to-all", "vllm#51984", mutant::idle_rank_skips_exchange},
    Mutant{"m22", "fused w1 and w3 split as one block under tp", "sglang#15432", mutant::fused_block},
    Mutant{"m22-swapped", "gate and up swapped", "TransformerLens#1668", mutant::swapped_gate_and_up},
    Mutant{"m25", "every ep rank loads the first experts", "DeepSpeed#6589", mutant::first_experts_everywhere},
};

}  // namespace

std::span<const Mutant> mutants() { return kMutants; }

std::vector<const Mutant*> mutants_named(const std::vector<std::string>& ids, std::string_view option) {
    std::string known;
    for (const Mutant& mutant : kMutants) known += (known.empty() ? "" : ", ") + std::string{mutant.id};
    std::vector<bool> wanted(kMutants.size(), ids.empty());
    for (const std::string& id : ids) {
        bool found = false;
        for (std::size_t i = 0; i < kMutants.size(); ++i) {
            if (kMutants[i].id != id && kMutants[i].id.substr(0, kMutants[i].id.find('-')) != id) continue;
            wanted[i] = found = true;
        }
        if (!found) throw InputError({"command line", std::string{option}, id, "must be one of " + known});
    }
    std::vector<const Mutant*> chosen;
    for (std::size_t i = 0; i < kMutants.size(); ++i) {
        if (wanted[i]) chosen.push_back(&kMutants[i]);
    }
    return chosen;
}

}  // namespace shardproof::props
