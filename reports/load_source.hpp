// What `load` loads from: a MODEL, or a folder that an earlier load wrote.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>

#include "reports/saved_folder.hpp"

namespace shardproof::reports {

class LoadSource {
public:
    [[nodiscard]] static LoadSource of_model(const std::filesystem::path& folder, Tensors tensors,
                                             std::optional<std::int64_t> layers);
    [[nodiscard]] static LoadSource of_shards(const std::filesystem::path& folder, std::optional<std::int64_t> layers);

    [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
    [[nodiscard]] const PlannedModel& model() const { return saved_ ? saved_->model : *model_; }
    // Of shards: reads them all. Throws InputError (saved_folder.hpp).
    void check_bytes(const Console& console) const;
    // Throws InputError where the folder has a config.json with other bytes: it is not to be lost.
    void require_own_config(const std::filesystem::path& folder) const;
    // What merge and a later load need beside the manifest: config.json, byte for byte, and checkpoint.json.
    void write_beside(const std::filesystem::path& folder) const;

private:
    LoadSource() = default;
    std::filesystem::path folder_;
    std::optional<std::int64_t> layers_;
    std::optional<PlannedModel> model_;
    std::optional<SavedFolder> saved_;
};

}  // namespace shardproof::reports
