// Rotary position embedding: the frequency table and its published scalings (transformers' modeling_rope_utils).
#pragma once
#include <cstdint>
#include <vector>

#include "oracle/model/config.hpp"

namespace shardproof::oracle {

struct RopeFrequencies {
    std::vector<double> inverse;    // [head_dim/2], radians a position
    double attention_factor = 1.0;  // multiplies cos and sin
};
// `longest` is the length of the longest sequence of the forward. Only dynamic NTK looks at it: as in transformers one
// table serves the whole batch, so a long sequence changes the frequencies of the short ones beside it.
[[nodiscard]] RopeFrequencies rope_frequencies(const RopeSpec& spec, std::int64_t head_dim, std::int64_t longest);

struct RopeTable {
    std::int64_t half = 0;         // head_dim/2
    double attention_factor = 1.0;
    std::vector<double> cos, sin;  // [longest, half] row-major, attention factor included
    RopePairs pairs = RopePairs::halves;
    // Columns of a head's pair d.
    [[nodiscard]] std::int64_t first(std::int64_t d) const { return pairs == RopePairs::halves ? d : 2 * d; }
    [[nodiscard]] std::int64_t second(std::int64_t d) const {
        return pairs == RopePairs::halves ? d + half : 2 * d + 1;
    }
};
[[nodiscard]] RopeTable rope_table(const RopeSpec& spec, std::int64_t head_dim, std::int64_t longest);

}  // namespace shardproof::oracle
