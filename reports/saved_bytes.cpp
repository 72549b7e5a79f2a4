// Whether the bytes of saved shards are those that were written.
#include <fmt/format.h>

#include <algorithm>

#include "oracle/model/error.hpp"
#include "reports/progress.hpp"
#include "reports/rank_files.hpp"
#include "reports/saved_folder.hpp"
#include "sim/plan/load_plan.hpp"

namespace shardproof::reports {
namespace {

// Of one kind all replicas must have the bytes of their hashes, and the same ones.
void check_replicas(const SavedFolder& folder, const SavedFolder::Shard& shard, Progress& progress) {
    const std::string& param = folder.published[shard.param_idx].name;
    std::optional<std::string> first;
    for (const SavedFolder::Replica& replica : shard.replicas) {
        const TensorView tensor = folder.model.checkpoint->tensor(shard_tensor_name(Rank{replica.rank}, param));
        const std::string hash = xxh64_text(xxh64(tensor.bytes));
        const std::string file = (folder.path / rank_file_name(Rank{replica.rank})).string();
        if (replica.xxh64 && *replica.xxh64 != hash) {
            throw InputError(
                {file, param, "xxh64 " + hash,
                 fmt::format("must be {}, as in manifest.json: other bytes than were written", *replica.xxh64)});
        }
        if (first && *first != hash) {
            throw InputError({file, param, "xxh64 " + hash,
                              fmt::format("must be {}, that of {}, which holds the same elements", *first,
                                          rank_file_name(Rank{shard.replicas.front().rank}))});
        }
        first = hash;
        progress.add(static_cast<std::int64_t>(tensor.bytes.size()));
    }
}

// Its own bytes must be those that other shards give for its elements.
void check_doubled(const SavedFolder& folder, const SavedFolder::Shard& shard) {
    const std::size_t p = shard.param_idx;
    const std::string& param = folder.published[p].name;
    const std::int64_t rank = shard.replicas.front().rank;
    const TensorView own = folder.model.checkpoint->tensor(shard_tensor_name(Rank{rank}, param));
    const LoadPlan plan = make_load_plan(folder.model.parameters[p], folder.model.dtypes[p], shard.index);
    std::vector<std::byte> others(own.bytes.size());
    (void)load(plan, *folder.model.checkpoint, others);
    const auto differs = std::ranges::mismatch(others, own.bytes).in1;
    if (differs == others.end()) return;
    throw InputError({(folder.path / rank_file_name(Rank{rank})).string(), param,
                      fmt::format("byte {} of its shard", differs - others.begin()),
                      "must be what another rank holds of the same element"});
}

}  // namespace

void check_saved_bytes(const SavedFolder& folder, const Console& console) {
    std::int64_t bytes = 0;
    for (const SavedFolder::Shard& shard : folder.shards) {
        const std::int64_t width = bits_of(folder.model.dtypes[shard.param_idx]) / 8;
        bytes += num_elements(local_shape(shard.index)) * width * static_cast<std::int64_t>(shard.replicas.size());
    }
    Progress progress(console, "checking", bytes);
    for (const SavedFolder::Shard& shard : folder.shards) check_replicas(folder, shard, progress);
    for (const SavedFolder::Shard& shard : folder.shards) {
        if (shard.is_doubled) check_doubled(folder, shard);
    }
}

}  // namespace shardproof::reports
