#include "reports/load_ranks.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "oracle/model/error.hpp"
#include "reports/rank_file_set.hpp"
#include "sim/memory.hpp"

namespace shardproof::reports {
namespace {

// Where the checkpoint has the first tensor of a parameter.
std::pair<std::size_t, std::uint64_t> place_of(const Checkpoint& checkpoint, const Parameter& parameter) {
    const auto item = checkpoint.items().find(parameter.sources.front().tensor);
    SP_ASSERT(item != checkpoint.items().end());
    return {item->second.file_idx, item->second.entry->begin};
}

std::vector<std::size_t> in_order_of_files(const Plan& plan, const Checkpoint& checkpoint) {
    std::vector<std::size_t> order(plan.params.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(order, {}, [&](std::size_t p) {
        const Parameter& parameter = plan.params[p].parameter;
        return parameter.sources.empty() ? std::pair<std::size_t, std::uint64_t>{} : place_of(checkpoint, parameter);
    });
    return order;
}

// Ranks that hold the same elements in the same order, by the first of them.
std::vector<std::vector<Rank>> holders_of(const Plan& plan, std::size_t param_idx) {
    std::map<std::vector<std::vector<std::pair<std::int64_t, std::int64_t>>>, std::size_t> seen;
    std::vector<std::vector<Rank>> holders;
    for (std::int64_t r = 0; r < plan.world(); ++r) {
        std::vector<std::vector<std::pair<std::int64_t, std::int64_t>>> key;
        for (const IndexRuns& runs : shard_of(plan, param_idx, Rank{r})) {
            key.emplace_back();
            for (const Run& run : runs) key.back().emplace_back(run.begin, run.end);
        }
        const auto [place, is_new] = seen.try_emplace(std::move(key), holders.size());
        if (is_new) holders.emplace_back();
        holders[place->second].emplace_back(r);
    }
    return holders;
}

}  // namespace

void RankLoader::load(const std::optional<std::filesystem::path>& folder, Progress& progress) {
    if (checkpoint_ == nullptr) return;
    std::optional<RankFileSet> files;
    if (folder) files.emplace(*plan_, *folder);
    hashes_.assign(plan_->params.size(), std::vector<std::uint64_t>(static_cast<std::size_t>(plan_->world())));
    for (const std::size_t p : in_order_of_files(*plan_, *checkpoint_)) {
        for (const std::vector<Rank>& ranks : holders_of(*plan_, p)) {
            sim::LoadReport report;
            const sim::HeldParam loaded = sim::load_param(*plan_, *checkpoint_, p, ranks.front(), nullptr, report);
            SP_ASSERT(report.poison_left == 0 && report.bytes_read == report.bytes_planned);
            const std::uint64_t hash = xxh64(loaded.bytes);
            bytes_read_ += report.bytes_read;
            for (const Rank rank : ranks) {
                hashes_[p][rank.idx()] = hash;
                if (files) files->write(rank, p, loaded.bytes);
            }
            progress.add(report.bytes_read * static_cast<std::int64_t>(ranks.size()));
        }
    }
    checkpoint_->require_intact();
    if (files) files->commit();
}

ManifestRank RankLoader::entry(Rank rank) const {
    ManifestRank entry{.rank = rank.value(), .file = rank_file_name(rank), .params = {}};
    for (std::size_t p = 0; p < plan_->params.size(); ++p) {
        const ParamPlan& param = plan_->params[p];
        std::vector<IndexRuns> index = shard_of(*plan_, p, rank);
        ManifestParam& listed = entry.params.emplace_back(ManifestParam{.name = param.parameter.name,
                                                                        .dtype = std::string{name_of(param.dtype)},
                                                                        .shape = local_shape(index),
                                                                        .index = std::move(index),
                                                                        .xxh64 = {}});
        if (!hashes_.empty()) listed.xxh64 = xxh64_text(hashes_[p][rank.idx()]);
    }
    return entry;
}

std::uint64_t RankLoader::memory_needed() const {
    if (checkpoint_ == nullptr) return 0;
    std::int64_t most = 0;
    for (std::size_t p = 0; p < plan_->params.size(); ++p) {
        // Chunks shrink with the coordinate: nobody holds more than the first rank.
        most = std::max(most, shard_bytes(*plan_, p, Rank{0}));
    }
    return static_cast<std::uint64_t>(most);
}

}  // namespace shardproof::reports
