// manifest.json: what each rank's file holds. Written as it is made, rank by rank; read back whole to compare.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reports/json.hpp"
#include "sim/plan/plan.hpp"

namespace shardproof::reports {

struct ManifestParam {
    std::string name;
    std::string dtype;
    Shape shape;                       // of the shard
    std::vector<IndexRuns> index;      // one entry a dim
    std::optional<std::string> xxh64;  // 16 hex digits over the shard's bytes; none: not read
};

struct ManifestRank {
    std::int64_t rank = 0;
    std::string file;  // "rank_00000.safetensors"
    std::vector<ManifestParam> params;
};

struct ManifestHead {
    std::int64_t world = 0;
    std::string rules;
    std::vector<std::pair<std::string, std::int64_t>> dims;  // "pp", "dp_replicate", ... as the contract orders them
    std::string family;
};

struct Manifest {
    ManifestHead head;
    std::vector<ManifestRank> ranks;
};

[[nodiscard]] std::string rank_file_name(Rank rank);
[[nodiscard]] ManifestHead manifest_head(const Plan& plan);
// Calls `rank` for 0 .. world-1 in order.
void write_manifest(const ManifestHead& head, const std::function<ManifestRank(Rank)>& rank, JsonWriter& json);

// Throws InputError naming `file` and the field that is missing, mistyped or out of place.
[[nodiscard]] Manifest parse_manifest(std::string_view json_text, const std::string& file);
[[nodiscard]] Manifest read_manifest(const std::filesystem::path& file);

[[nodiscard]] std::uint64_t xxh64(std::span<const std::byte> bytes);  // seed 0
[[nodiscard]] std::string xxh64_text(std::uint64_t hash);             // 16 hex digits

}  // namespace shardproof::reports
