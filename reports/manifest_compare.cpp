#include "reports/manifest_compare.hpp"

#include <fmt/format.h>

#include <map>
#include <string_view>

#include "oracle/model/error.hpp"
#include "reports/text.hpp"

namespace shardproof::reports {
namespace {

void compare_params(std::int64_t rank, const ManifestParam& ours, const ManifestParam& theirs, Comparison& comparison) {
    const auto differ = [&](std::string what, std::string mine, std::string other) {
        if (mine != other)
            comparison.differences.push_back({rank, ours.name, std::move(what), std::move(mine), std::move(other)});
    };
    differ("dtype", ours.dtype, theirs.dtype);
    differ("shape", shardproof::to_string(ours.shape), shardproof::to_string(theirs.shape));
    differ("index", index_text(ours.index), index_text(theirs.index));
    if (ours.xxh64 && theirs.xxh64) {
        ++comparison.hashes_compared;
        differ("xxh64", *ours.xxh64, *theirs.xxh64);
    } else {
        ++comparison.hashes_left_out;
    }
}

}  // namespace

void compare_heads(const ManifestHead& ours, const ManifestHead& theirs, Comparison& comparison) {
    const auto differ = [&](std::string what, std::string mine, std::string other) {
        if (mine != other)
            comparison.differences.push_back({{}, "", std::move(what), std::move(mine), std::move(other)});
    };
    differ("world", std::to_string(ours.world), std::to_string(theirs.world));
    differ("rules", ours.rules, theirs.rules);
    differ("family", ours.family, theirs.family);
    const std::map<std::string, std::int64_t> degrees(theirs.dims.begin(), theirs.dims.end());
    for (const auto& [name, degree] : ours.dims) {
        const auto found = degrees.find(name);
        differ("dims." + name, std::to_string(degree), found == degrees.end() ? "none" : std::to_string(found->second));
    }
}

void compare_ranks(const ManifestRank& ours, const ManifestRank* theirs, Comparison& comparison) {
    if (theirs == nullptr) {
        comparison.differences.push_back({ours.rank, "", "not in the manifest", "", ""});
        return;
    }
    if (ours.file != theirs->file) {
        comparison.differences.push_back({ours.rank, "", "file", ours.file, theirs->file});
    }
    std::map<std::string_view, const ManifestParam*> unmatched;
    for (const ManifestParam& param : theirs->params) {
        if (unmatched.try_emplace(param.name, &param).second) continue;
        comparison.differences.push_back({ours.rank, param.name, "twice in the manifest", "", ""});
    }
    for (const ManifestParam& param : ours.params) {
        const auto found = unmatched.find(param.name);
        if (found == unmatched.end()) {
            comparison.differences.push_back({ours.rank, param.name, "not in the manifest", "", ""});
            continue;
        }
        compare_params(ours.rank, param, *found->second, comparison);
        unmatched.erase(found);
    }
    for (const auto& [name, param] : unmatched) {
        comparison.differences.push_back({ours.rank, std::string{name}, "only in the manifest", "", ""});
    }
}

void compare_other_ranks(std::int64_t world, const std::vector<ManifestRank>& theirs, Comparison& comparison) {
    for (const ManifestRank& rank : theirs) {
        if (rank.rank >= world) comparison.differences.push_back({rank.rank, "", "only in the manifest", "", ""});
    }
}

std::string to_string(const Difference& difference) {
    std::string text = difference.rank ? fmt::format("rank {}: ", *difference.rank) : "";
    if (!difference.param.empty()) text += printable(difference.param) + ": ";
    text += difference.what;
    if (!difference.ours.empty() || !difference.theirs.empty()) {
        text += fmt::format(": {}, not {}", printable(difference.ours), printable(difference.theirs));
    }
    return text;
}

}  // namespace shardproof::reports
