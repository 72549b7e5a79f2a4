// The files of all ranks of a load, written side by side: each shard goes to its place as it comes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "sim/plan/plan.hpp"

namespace shardproof::reports {

class RankFileSet {
public:
    // Makes every file under a name of its own, with its header. `plan` outlives it. Throws InputError where no file
    // can be made, EnvironmentError where the disk is full; so do the others.
    RankFileSet(const Plan& plan, std::filesystem::path folder);
    ~RankFileSet();  // removes what is not committed
    RankFileSet(const RankFileSet&) = delete;
    RankFileSet& operator=(const RankFileSet&) = delete;

    void write(Rank rank, std::size_t param_idx, std::span<const std::byte> shard);
    // All files on the disk, then under their names, replacing those of an earlier load.
    void commit();

private:
    [[nodiscard]] std::filesystem::path name_of_rank(std::size_t rank, bool complete) const;
    int open_file(std::size_t rank);
    void write_at(std::size_t rank, std::uint64_t offset, std::span<const std::byte> bytes);
    void close_all();

    std::filesystem::path folder_;
    std::vector<int> opened_;  // by rank; -1: closed
    std::size_t num_open_ = 0;
    std::size_t num_open_max_ = 0;
    std::vector<std::vector<std::uint64_t>> begin_;  // by rank, then parameter
    std::size_t num_committed_ = 0;
};

}  // namespace shardproof::reports
