#include "reports/manifest.hpp"

#include <fmt/format.h>

#define XXH_INLINE_ALL  // the library's own way to be header-only
#include <xxhash.h>

#include "reports/plan_json.hpp"

namespace shardproof::reports {
namespace {

void write_rank(const ManifestRank& rank, JsonWriter& json) {
    json.begin_object().field("rank", rank.rank).field("file", rank.file).key("params").begin_array();
    for (const ManifestParam& param : rank.params) {
        json.begin_object().field("name", param.name).field("dtype", param.dtype).key("shape").list(param.shape);
        json.key("index");
        write_index(param.index, json);
        json.key("xxh64");
        if (param.xxh64) {
            json.value(*param.xxh64);
        } else {
            json.null();
        }
        json.end_object();
    }
    json.end_array().end_object();
}

}  // namespace

std::string rank_file_name(Rank rank) { return fmt::format("rank_{:05}.safetensors", rank.value()); }

ManifestHead manifest_head(const Plan& plan) {
    const ParallelDims& dims = plan.dims;
    ManifestHead head{.world = plan.world(),
                      .rules = plan.rules,
                      .dims = {{"pp", dims.pp()},
                               {"dp_replicate", dims.dp_replicate()},
                               {"dp_shard", dims.dp_shard()},
                               {"cp", dims.cp()},
                               {"tp", dims.tp()},
                               {"ep", dims.ep()}},
                      .family = plan.config.family};
    if (dims.has_etp()) head.dims.emplace_back("etp", dims.etp());
    return head;
}

void write_manifest(const ManifestHead& head, const std::function<ManifestRank(Rank)>& rank, JsonWriter& json) {
    json.begin_object().field("format", 1).field("world", head.world).field("rules", head.rules);
    json.key("dims").begin_object();
    for (const auto& [name, degree] : head.dims) json.field(name, degree);
    json.end_object().field("family", head.family).key("ranks").begin_array();
    for (std::int64_t r = 0; r < head.world; ++r) write_rank(rank(Rank{r}), json);
    json.end_array().end_object();
}

std::uint64_t xxh64(std::span<const std::byte> bytes) { return XXH64(bytes.data(), bytes.size(), 0); }

std::string xxh64_text(std::uint64_t hash) { return fmt::format("{:016x}", hash); }

}  // namespace shardproof::reports
