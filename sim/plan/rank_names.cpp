#include "sim/plan/rank_names.hpp"

#include <algorithm>
#include <cstddef>

namespace shardproof {
namespace {

constexpr std::size_t kNamed = 8;

std::string joined(std::span<const Rank> ranks, const char* between) {
    std::string text;
    for (const Rank rank : ranks) text += (text.empty() ? "" : between) + std::to_string(rank.value());
    return text;
}

}  // namespace

std::string all_ranks(std::span<const Rank> ranks) { return joined(ranks, ","); }

std::string group_text(std::span<const Rank> ranks) {
    if (ranks.size() <= kNamed + 1) return "[" + all_ranks(ranks) + "]";
    return "[" + all_ranks(ranks.first(kNamed)) + ",... " + std::to_string(ranks.size()) + " ranks]";
}

std::string named_ranks(std::span<const Rank> ranks) {
    const std::string text =
        (ranks.size() == 1 ? "rank " : "ranks ") + joined(ranks.first(std::min(ranks.size(), kNamed)), ", ");
    return ranks.size() <= kNamed ? text : text + " and " + std::to_string(ranks.size() - kNamed) + " more";
}

}  // namespace shardproof
