// A folder that `load --out` wrote, as a model to load from: the ranks' shards stand in for the published tensors.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "reports/command.hpp"
#include "reports/manifest.hpp"
#include "reports/origin.hpp"
#include "reports/planned_model.hpp"

namespace shardproof::reports {

struct SavedFolder {
    std::filesystem::path path;
    PlannedModel model;                // sources are tensors "rank_00003/PARAM" of its checkpoint
    std::vector<Parameter> published;  // the same parameters, reading the published tensors
    std::optional<Origin> origin;      // none: no checkpoint.json
    // A shard of each kind, and all of the same kind: rank and hash, as the manifest says it.
    struct Replica {
        std::int64_t rank = 0;
        std::optional<std::string> xxh64;
    };
    struct Shard {
        std::size_t param_idx = 0;
        std::vector<IndexRuns> index;
        std::vector<Replica> replicas;  // the first is the one that is read
        bool is_doubled = false;        // elements of it are read from another kind
    };
    std::vector<Shard> shards;
};

// Reads manifest, config.json and headers; no tensor data. `layers` cuts further. Throws InputError naming file and
// parameter: a rank file that is absent, unreadable or one too many; tensors that differ from the manifest; elements
// that no rank holds.
[[nodiscard]] SavedFolder open_saved_folder(const std::filesystem::path& folder, std::optional<std::int64_t> layers);

// Reads all tensors once. Throws InputError naming file and parameter: bytes that are not those of the manifest's hash,
// shards that hold other values of an element than another shard.
void check_saved_bytes(const SavedFolder& folder, const Console& console);

}  // namespace shardproof::reports
