// Every model family, one row each.
#include <array>

#include "oracle/model/families/families.hpp"

namespace shardproof {

std::span<const ModelFamily> families() {
    static constexpr std::array kFamilies{kQwen3Moe, kLlama4, kLlama4Text};
    return kFamilies;
}

}  // namespace shardproof
