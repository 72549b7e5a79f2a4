#include "sim/plan/placement.hpp"

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

}  // namespace shardproof
