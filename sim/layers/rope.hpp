// Rotary position embedding as a rank computes it.
#pragma once
#include <cstdint>
#include <vector>

#include "oracle/model/config.hpp"
#include "sim/layers/ops.hpp"

namespace shardproof::sim {

// cos and sin of position * frequency, times the scaling's attention factor: [positions, head_dim / 2] each. Angles are
// computed in double and rounded once.
struct RopeTable {
    std::int64_t half_dim = 0;
    std::vector<float> cos;
    std::vector<float> sin;
    RopePairs pairs = RopePairs::halves;
};
// `longest_sequence`: of the whole batch, in tokens. Source: transformers modeling_rope_utils.
[[nodiscard]] RopeTable make_rope_table(const RopeSpec& rope, std::int64_t head_dim,
                                        const std::vector<std::int64_t>& positions, std::int64_t longest_sequence);

// Rotates each head of each row, pair by pair: x[n, heads*head_dim].
void apply_rope(Rows& x, std::int64_t head_dim, const RopeTable& table, Arithmetic arithmetic);

}  // namespace shardproof::sim
