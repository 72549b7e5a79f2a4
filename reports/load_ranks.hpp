// One rank after the other: what its file holds, and, where tensors are read, the file itself.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>

#include "oracle/model/checkpoint.hpp"
#include "reports/manifest.hpp"
#include "reports/progress.hpp"
#include "sim/plan/plan.hpp"

namespace shardproof::reports {

class RankLoader {
public:
    // `checkpoint` null: nothing is read, hashes are left out. Neither is owned.
    RankLoader(const Plan& plan, const Checkpoint* checkpoint) : plan_{&plan}, checkpoint_{checkpoint} {}

    // The rank's entry of the manifest. With a folder, the rank's file is written there.
    [[nodiscard]] ManifestRank load(Rank rank, const std::optional<std::filesystem::path>& folder, Progress& progress);
    // What load() holds at once.
    [[nodiscard]] std::uint64_t memory_needed(bool writes_files) const;
    [[nodiscard]] std::int64_t bytes_read() const { return bytes_read_; }

private:
    const Plan* plan_;
    const Checkpoint* checkpoint_;
    std::int64_t bytes_read_ = 0;
};

}  // namespace shardproof::reports
