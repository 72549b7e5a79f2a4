#include "reports/saved_folder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_map>
#include <utility>

#include "oracle/model/error.hpp"
#include "reports/rank_files.hpp"
#include "reports/text.hpp"
#include "sim/plan/saved_shards.hpp"

namespace shardproof::reports {
namespace {

namespace fs = std::filesystem;

// What is read of a folder before it is a model.
class Reader {
public:
    Reader(const fs::path& folder, std::optional<std::int64_t> layers)
        : manifest_file_{(folder / "manifest.json").string()}, manifest_{read_manifest(manifest_file_)} {
        saved_.path = folder;
        read_config_and_origin(layers);
        for (std::size_t p = 0; p < all_parameters_.size(); ++p) param_idx_.emplace(all_parameters_[p].name, p);
        dtypes_.resize(all_parameters_.size());
        shard_idx_.resize(all_parameters_.size());
    }

    SavedFolder take() && {
        require_ranks();
        for (const ManifestRank& rank : manifest_.ranks) read_rank(rank);
        saved_.model.checkpoint = Checkpoint::from_files(saved_.path.string(), std::move(files_));
        assemble_all();
        return std::move(saved_);
    }

private:
    [[noreturn]] void refuse(const std::string& field, std::string value, std::string rule) const {
        throw InputError({manifest_file_, field, std::move(value), std::move(rule)});
    }

    void read_config_and_origin(std::optional<std::int64_t> layers) {
        ModelConfig config = read_config(saved_.path / "config.json");
        if (config.family != manifest_.head.family)
            refuse("family", printable(manifest_.head.family), "must be that of config.json, " + config.family);
        if (const fs::path file = saved_.path / kOriginFile; fs::exists(file)) saved_.origin = read_origin(file);
        if (saved_.origin && saved_.origin->layers) {
            if (*saved_.origin->layers < 1 || *saved_.origin->layers > config.num_layers) {
                throw InputError({(saved_.path / kOriginFile).string(), "layers",
                                  std::to_string(*saved_.origin->layers),
                                  fmt::format("must be from 1 to {}", config.num_layers)});
            }
            config = first_layers(std::move(config), *saved_.origin->layers);
        }
        all_parameters_ = family_of(config).parameters(config);
        if (layers) config = first_layers(std::move(config), *layers);
        saved_.published = family_of(config).parameters(config);
        saved_.model.name = saved_.path.string();
        saved_.model.config = std::move(config);
    }

    void require_ranks() const {
        const std::int64_t world = manifest_.head.world;
        if (world < 1) refuse("world", std::to_string(world), "must be >= 1");
        for (std::size_t r = 0; r < manifest_.ranks.size(); ++r) {
            const ManifestRank& rank = manifest_.ranks[r];
            const std::string field = fmt::format("ranks[{}].", r);
            if (rank.rank != static_cast<std::int64_t>(r))
                refuse(field + "rank", std::to_string(rank.rank), fmt::format("must be {}: ranks are in order", r));
            if (rank.file != rank_file_name(Rank{rank.rank}))
                refuse(field + "file", printable(rank.file), "must be " + rank_file_name(Rank{rank.rank}));
        }
        if (static_cast<std::int64_t>(manifest_.ranks.size()) != world)
            refuse("ranks", fmt::format("{} ranks", manifest_.ranks.size()),
                   fmt::format("must be {}, the world", world));
        if (const std::optional<std::string> other = other_rank_file(saved_.path, world)) {
            throw InputError({saved_.path.string(), "", shortened(*other),
                              fmt::format("must hold no rank files beyond manifest.json's world of {}", world)});
        }
    }

    void read_rank(const ManifestRank& rank) {
        const fs::path path = saved_.path / rank.file;
        SafetensorsFile file(map_file(path, rank.file), path.string());
        std::size_t num_listed = 0;
        for (std::size_t i = 0; i < rank.params.size(); ++i) {
            const ManifestParam& param = rank.params[i];
            const std::string field = fmt::format("ranks[{}].params[{}]", rank.rank, i);
            const auto found = param_idx_.find(param.name);
            if (found == param_idx_.end())
                refuse(field + ".name", printable(param.name), "must be a parameter of the model in config.json");
            check_param(param, field, found->second);
            check_tensor(file, path, param);
            if (!add_shard(rank.rank, param, found->second))
                refuse(field + ".name", printable(param.name), "must come once a rank");
            ++num_listed;
        }
        if (file.header().entries.size() != num_listed) refuse_unlisted(file, path, rank);
        files_.emplace_back(rank_stem(Rank{rank.rank}), std::move(file));
    }

    void check_param(const ManifestParam& param, const std::string& field, std::size_t p) {
        const Shape& shape = all_parameters_[p].shape;
        const std::optional<DType> dtype = dtype_named(param.dtype);
        if (!dtype || (*dtype != DType::BF16 && *dtype != DType::F16 && *dtype != DType::F32))
            refuse(field + ".dtype", printable(param.dtype), "must be BF16, F16 or F32");
        if (dtypes_[p].value_or(*dtype) != *dtype)
            refuse(field + ".dtype", param.dtype, fmt::format("must be {}, as on ranks before", name_of(*dtypes_[p])));
        dtypes_[p] = dtype;
        if (param.index.size() != shape.size())
            refuse(field + ".index", fmt::format("{} dims", param.index.size()),
                   fmt::format("must have {}, those of {}", shape.size(), param.name));
        for (std::size_t dim = 0; dim < shape.size(); ++dim) {
            for (const Run& run : param.index[dim]) {
                if (run.begin <= run.end && run.end <= shape[dim]) continue;
                refuse(fmt::format("{}.index[{}]", field, dim), fmt::format("[{},{}]", run.begin, run.end),
                       fmt::format("must be a run [start, stop) of {} indices", shape[dim]));
            }
        }
        if (local_shape(param.index) != param.shape)
            refuse(field + ".shape", to_string(param.shape),
                   fmt::format("must be {}, as index says", to_string(local_shape(param.index))));
    }

    static void check_tensor(const SafetensorsFile& file, const fs::path& path, const ManifestParam& param) {
        const SafetensorsEntry* const entry = file.find(param.name);
        const auto refuse_tensor = [&](std::string value, std::string rule) {
            throw InputError({path.string(), printable(param.name), std::move(value), std::move(rule)});
        };
        if (entry == nullptr) refuse_tensor("", "tensor missing: manifest.json lists it");
        if (const Shape shape = file.view(*entry).shape; shape != param.shape)
            refuse_tensor(to_string(shape),
                          fmt::format("shape must be {}, as in manifest.json", to_string(param.shape)));
        if (name_of(entry->dtype) != param.dtype)
            refuse_tensor(std::string{name_of(entry->dtype)},
                          fmt::format("dtype must be {}, as in manifest.json", param.dtype));
    }

    static void refuse_unlisted(const SafetensorsFile& file, const fs::path& path, const ManifestRank& rank) {
        for (const SafetensorsEntry& entry : file.header().entries) {
            if (std::ranges::find(rank.params, entry.name, &ManifestParam::name) != rank.params.end()) continue;
            throw InputError(
                {path.string(), printable(entry.name), "", "tensor unexpected: manifest.json does not list it"});
        }
    }

    // False where the rank has the parameter already.
    bool add_shard(std::int64_t rank, const ManifestParam& param, std::size_t p) {
        std::vector<std::int64_t> key;
        for (const IndexRuns& runs : param.index) {
            key.push_back(static_cast<std::int64_t>(runs.size()));
            for (const Run& run : runs) key.insert(key.end(), {run.begin, run.end});
        }
        const auto [place, is_new] = shard_idx_[p].try_emplace(std::move(key), saved_.shards.size());
        if (is_new) saved_.shards.push_back({.param_idx = p, .index = param.index, .replicas = {}});
        if (last_rank_.try_emplace(p, -1).first->second == rank) return false;
        last_rank_[p] = rank;
        saved_.shards[place->second].replicas.push_back({rank, param.xxh64});
        return true;
    }

    void assemble_all() {
        std::vector<std::vector<std::size_t>> shards_of(all_parameters_.size());
        for (std::size_t s = 0; s < saved_.shards.size(); ++s) shards_of[saved_.shards[s].param_idx].push_back(s);
        for (const Parameter& published : saved_.published) {
            const std::size_t p = param_idx_.at(published.name);
            std::vector<SavedShard> of_param;
            for (const std::size_t s : shards_of[p]) {
                const SavedFolder::Shard& shard = saved_.shards[s];
                of_param.push_back({shard_tensor_name(Rank{shard.replicas.front().rank}, published.name), shard.index});
            }
            AssembledParam assembled = assemble(published.shape, of_param);
            if (!assembled.uncovered.empty()) {
                std::vector<IndexRuns> first;
                for (const Run& run : assembled.uncovered.front()) first.push_back({run});
                refuse(published.name, index_text(first), "must be held by a rank: no file has these elements");
            }
            for (const std::size_t i : assembled.doubled) saved_.shards[shards_of[p][i]].is_doubled = true;
            Parameter parameter = published;
            parameter.sources = std::move(assembled.sources);
            saved_.model.parameters.push_back(std::move(parameter));
            saved_.model.dtypes.push_back(*dtypes_[p]);
        }
        forget_other_layers();
    }

    // Shards of layers that are cut off: `param_idx` counts the parameters that stay.
    void forget_other_layers() {
        std::unordered_map<std::string, std::size_t> kept;
        for (std::size_t p = 0; p < saved_.published.size(); ++p) kept.emplace(saved_.published[p].name, p);
        std::vector<SavedFolder::Shard> shards;
        for (SavedFolder::Shard& shard : saved_.shards) {
            const auto found = kept.find(all_parameters_[shard.param_idx].name);
            if (found == kept.end()) continue;
            shard.param_idx = found->second;
            shards.push_back(std::move(shard));
        }
        saved_.shards = std::move(shards);
    }

    std::string manifest_file_;
    Manifest manifest_;
    SavedFolder saved_;
    std::vector<Parameter> all_parameters_;  // that the folder should have: --layers of now does not cut them
    std::unordered_map<std::string, std::size_t> param_idx_;
    std::vector<std::optional<DType>> dtypes_;
    std::vector<std::map<std::vector<std::int64_t>, std::size_t>> shard_idx_;  // by parameter and index
    std::unordered_map<std::size_t, std::int64_t> last_rank_;
    std::vector<std::pair<std::string, SafetensorsFile>> files_;
};

}  // namespace

SavedFolder open_saved_folder(const fs::path& folder, std::optional<std::int64_t> layers) {
    return Reader(folder, layers).take();
}

}  // namespace shardproof::reports
