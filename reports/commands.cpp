#include <array>

#include "reports/command.hpp"

namespace shardproof::reports {
namespace {

constexpr std::array kCommands{
    Command{"inspect", "list the tensors of a file or a model, from headers alone", declare_inspect},
    Command{"plan", "print who holds what: meshes, groups, placements, bytes per rank", declare_plan},
    Command{"run", "run the forward by the oracle or on virtual ranks, and write the logits", declare_run},
    Command{"check", "plan, load, run on virtual ranks or GPUs and judge against the oracle", declare_check},
    Command{"load", "write each rank's shards and their manifest, reading only the bytes they need", declare_load},
    Command{"merge", "write what load wrote back in the published files", declare_merge},
    Command{"synth", "write a checkpoint of known values from a config.json", declare_synth},
    Command{"verify", "say what another program loaded instead of what it should, found by content", declare_verify},
    Command{"fuzz", "random models, layouts and tokens against every law; planted faults with --mutants", declare_fuzz},
    Command{"demo", "the main job on the checkpoint that ships with the repository", declare_demo},
};

}  // namespace

std::span<const Command> commands() { return kCommands; }

}  // namespace shardproof::reports
