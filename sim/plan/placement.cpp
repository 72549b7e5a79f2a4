#include "sim/plan/placement.hpp"

#include <charconv>

namespace shardproof {
namespace {

struct Printer {
    std::string operator()(const Replicate&) const { return "R"; }
    std::string operator()(const ShardDim& shard) const { return "S(" + std::to_string(shard.dim) + ")"; }
    std::string operator()(const StridedShard& shard) const {
        return "SS(" + std::to_string(shard.dim) + "," + std::to_string(shard.split) + ")";
    }
    std::string operator()(const Partial&) const { return "P"; }
    std::string operator()(const Owners& owners) const { return "O(" + std::to_string(owners.dim) + ")"; }
};

}  // namespace

std::string to_string(const Placement& placement) { return std::visit(Printer{}, placement); }

std::optional<Placement> placement_named(std::string_view text) {
    if (text == "R") return Replicate{};
    if (text == "P") return Partial{};
    const std::size_t open = text.find('(');
    if (open == std::string_view::npos || text.back() != ')') return std::nullopt;
    const std::string_view numbers = text.substr(open + 1, text.size() - open - 2);
    std::size_t dim = 0;
    std::int64_t split = 1;
    const char* const end = numbers.data() + numbers.size();
    const char* at = std::from_chars(numbers.data(), end, dim).ptr;
    if (at != end && *at == ',') std::from_chars(at + 1, end, split);
    Placement placement;
    switch (text.front()) {
        case 'S':
            placement = text.starts_with("SS") ? Placement{StridedShard{dim, split}} : Placement{ShardDim{dim}};
            break;
        default:
            placement = Owners{dim, {}};
    }
    // What is not spelled as it is printed ("S( 0)", "S(00)", "SS(0)") is no placement.
    if (to_string(placement) != text || split < 1) return std::nullopt;
    return placement;
}

}  // namespace shardproof
