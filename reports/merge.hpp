// The published files of a model, written again from the shards of a folder that `load --out` wrote.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "oracle/model/checkpoint.hpp"
#include "reports/saved_folder.hpp"

namespace shardproof::reports {

// One tensor of a published file: from shards, or as `rest` has it.
struct MergedTensor {
    std::string name;
    DType dtype{};
    std::optional<Parameter> parameter;  // reads shards (saved_shards.hpp); none: of the rest
};

struct MergedFile {
    std::string name;
    std::string header;                 // JSON, padding included
    std::vector<MergedTensor> tensors;  // in the order of their bytes
    std::uint64_t num_bytes = 0;        // of the whole file
};

// Throws InputError: no checkpoint.json, headers in it that do not fit the model, or tensors that no shard holds (by
// name) and `rest` does not have either, in the same dtype and shape.
[[nodiscard]] std::vector<MergedFile> plan_merge(const SavedFolder& folder, const std::optional<Checkpoint>& rest);

// `progress` is told the bytes written so far of each piece.
void write_merged(const MergedFile& file, const SavedFolder& folder, const std::optional<Checkpoint>& rest,
                  const std::filesystem::path& place, const std::function<void(std::int64_t)>& progress);

}  // namespace shardproof::reports
