#include "reports/load_source.hpp"

#include <algorithm>
#include <ostream>

#include "oracle/model/byte_source.hpp"
#include "oracle/model/error.hpp"
#include "reports/answer.hpp"
#include "reports/new_file.hpp"

namespace shardproof::reports {

namespace fs = std::filesystem;

LoadSource LoadSource::of_model(const fs::path& folder, Tensors tensors, std::optional<std::int64_t> layers) {
    LoadSource source;
    source.folder_ = folder;
    source.layers_ = layers;
    source.model_ = open_planned_model(folder, tensors, layers);
    return source;
}

LoadSource LoadSource::of_shards(const fs::path& folder, std::optional<std::int64_t> layers) {
    LoadSource source;
    source.folder_ = folder;
    source.layers_ = layers;
    source.saved_ = open_saved_folder(folder, layers);
    return source;
}

void LoadSource::check_bytes(const Console& console) const {
    if (saved_) check_saved_bytes(*saved_, console);
}

void LoadSource::require_own_config(const fs::path& folder) const {
    const fs::path config = folder / "config.json";
    if (!fs::exists(config)) return;
    const auto theirs = map_file(config, config.string());
    const auto ours = map_file(folder_ / "config.json", (folder_ / "config.json").string());
    if (std::ranges::equal(theirs->bytes(), ours->bytes())) return;
    throw InputError({folder.string(), "--out", "config.json", "must not be that of another model"});
}

void LoadSource::write_beside(const fs::path& folder) const {
    copy_file_bytes(folder_ / "config.json", folder / "config.json");
    std::optional<Origin> origin = saved_ ? saved_->origin : origin_of(folder_, *model_, layers_);
    if (!origin) {
        fs::remove(folder / kOriginFile);  // of an earlier load
        return;
    }
    if (layers_) origin->layers = layers_;
    write_file(folder / kOriginFile, "--out", [&](std::ostream& out) {
        JsonWriter json{out};
        write_origin(*origin, json);
    });
}

}  // namespace shardproof::reports
