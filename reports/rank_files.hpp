// The files of a folder that has one a rank: "rank_00003.safetensors", and what is called after them.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "oracle/model/ids.hpp"

namespace shardproof::reports {

[[nodiscard]] std::string rank_stem(Rank rank);  // "rank_00003"
// A shard among those of all ranks: "rank_00003/layers.0.moe.experts.w1".
[[nodiscard]] std::string shard_tensor_name(Rank rank, const std::string& param);
// A file of the folder that is called as a rank's and is none of a world of `world`.
[[nodiscard]] std::optional<std::string> other_rank_file(const std::filesystem::path& folder, std::int64_t world);

}  // namespace shardproof::reports
