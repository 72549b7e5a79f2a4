// Indices that cannot be mixed up: a Rank is not an ExpertId, and neither is an int.
#pragma once
#include <compare>
#include <cstdint>

namespace shardproof {

template <class Tag>
class Id {
public:
    constexpr Id() = default;
    explicit constexpr Id(std::int64_t value) : value_{value} {}
    [[nodiscard]] constexpr std::int64_t value() const { return value_; }
    // For indexing a container that holds one entry an id.
    [[nodiscard]] constexpr std::size_t idx() const { return static_cast<std::size_t>(value_); }
    auto operator<=>(const Id&) const = default;

private:
    std::int64_t value_ = 0;
};

using Rank = Id<struct RankTag>;               // a process of the world, 0 .. world-1
using ExpertId = Id<struct ExpertTag>;         // an expert of the model, 0 .. num_experts-1
using LocalExpert = Id<struct LocalExpertTag>; // an expert's place within one rank's shard
using TokenId = Id<struct TokenTag>;           // a token of the whole batch, sequence-major

}  // namespace shardproof
