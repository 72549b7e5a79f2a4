#include "sim/plan/rules/peers.hpp"

#include "oracle/model/error.hpp"

namespace shardproof {

void require_divides(const char* option, std::int64_t degree, std::int64_t extent, const char* what) {
    if (extent % degree == 0) return;
    throw InputError{{"command line", option, std::to_string(degree),
                      std::string{"must divide "} + what + " (" + std::to_string(extent) + ")"}};
}

}  // namespace shardproof
