// The shards of all ranks, a parameter after the other: each is read once, however many ranks hold it, and goes to
// their files at once. No page of the checkpoint is wanted again after its tensors had their turn.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "oracle/model/checkpoint.hpp"
#include "reports/manifest.hpp"
#include "reports/progress.hpp"
#include "sim/plan/plan.hpp"

namespace shardproof::reports {

class RankLoader {
public:
    // `checkpoint` null: nothing is read, hashes are left out. Neither is owned.
    RankLoader(const Plan& plan, const Checkpoint* checkpoint) : plan_{&plan}, checkpoint_{checkpoint} {}

    // Reads and hashes every shard. With a folder, every rank's file is written there; they get their names when all
    // are complete. Throws what require_intact() of the checkpoint throws, and what writing throws.
    void load(const std::optional<std::filesystem::path>& folder, Progress& progress);
    // The rank's entry of the manifest.
    [[nodiscard]] ManifestRank entry(Rank rank) const;
    // What load() holds at once.
    [[nodiscard]] std::uint64_t memory_needed() const;
    [[nodiscard]] std::int64_t bytes_read() const { return bytes_read_; }

private:
    const Plan* plan_;
    const Checkpoint* checkpoint_;
    std::vector<std::vector<std::uint64_t>> hashes_;  // by parameter, then rank
    std::int64_t bytes_read_ = 0;
};

}  // namespace shardproof::reports
