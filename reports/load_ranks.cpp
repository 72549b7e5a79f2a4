#include "reports/load_ranks.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "oracle/model/error.hpp"
#include "oracle/model/safetensors.hpp"
#include "sim/memory.hpp"

namespace shardproof::reports {

ManifestRank RankLoader::load(Rank rank, const std::optional<std::filesystem::path>& folder, Progress& progress) {
    ManifestRank entry{.rank = rank.value(), .file = rank_file_name(rank), .params = {}};
    std::vector<sim::HeldParam> held;
    for (std::size_t p = 0; p < plan_->params.size(); ++p) {
        const ParamPlan& param = plan_->params[p];
        std::vector<IndexRuns> index = shard_of(*plan_, p, rank);
        ManifestParam listed{.name = param.parameter.name,
                             .dtype = std::string{name_of(param.dtype)},
                             .shape = local_shape(index),
                             .index = std::move(index),
                             .xxh64 = {}};
        if (checkpoint_ != nullptr) {
            sim::LoadReport report;
            sim::HeldParam loaded = sim::load_param(*plan_, *checkpoint_, p, rank, nullptr, report);
            SP_ASSERT(report.poison_left == 0 && report.bytes_read == report.bytes_planned);
            SP_ASSERT(loaded.shape == listed.shape);
            listed.xxh64 = xxh64_text(loaded.bytes);
            bytes_read_ += report.bytes_read;
            progress.add(report.bytes_read);
            if (folder) held.push_back(std::move(loaded));
        }
        entry.params.push_back(std::move(listed));
    }
    if (checkpoint_ == nullptr) return entry;
    checkpoint_->require_intact();
    if (!folder) return entry;
    std::vector<std::pair<std::string, TensorView>> tensors;
    for (const sim::HeldParam& param : held) {
        const ParamPlan& planned = plan_->params[param.param_idx];
        tensors.emplace_back(planned.parameter.name, TensorView{planned.dtype, param.shape, param.bytes});
    }
    write_safetensors(*folder / entry.file, tensors, {{"format", "pt"}});
    return entry;
}

std::uint64_t RankLoader::memory_needed(bool writes_files) const {
    if (checkpoint_ == nullptr) return 0;
    if (writes_files) return static_cast<std::uint64_t>(std::ranges::max(bytes_per_rank(*plan_)));
    std::int64_t most = 0;
    for (std::size_t p = 0; p < plan_->params.size(); ++p) {
        // Chunks shrink with the coordinate: nobody holds more than the first rank.
        most = std::max(most, shard_bytes(*plan_, p, Rank{0}));
    }
    return static_cast<std::uint64_t>(most);
}

}  // namespace shardproof::reports
