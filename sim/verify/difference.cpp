#include "sim/verify/difference.hpp"

namespace shardproof::verify {

std::string_view name_of(Kind kind) {
    static constexpr std::array<std::string_view, kNumKinds> kNames{
        "missing",    "truncated",  "transposed", "swapped-gate-up", "wrong-expert", "wrong-rank",
        "duplicated", "not-loaded", "rounded",    "corrupt",         "unexpected"};
    return kNames.at(static_cast<std::size_t>(kind));
}

}  // namespace shardproof::verify
