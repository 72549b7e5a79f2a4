#include "sim/assumed_routing.hpp"

#include <algorithm>

#include "oracle/model/error.hpp"

namespace shardproof::sim {

ExpertOf uniform_routing(const RouterSpec& router) {
    return [k = router.top_k, e = router.num_experts](std::int64_t, std::int64_t token, std::int64_t choice) {
        return ExpertId{(token * k + choice) % e};
    };
}

ExpertOf skewed_routing(const RouterSpec& router) {
    return [uniform = uniform_routing(router)](std::int64_t layer, std::int64_t token, std::int64_t choice) {
        return token % 2 == 0 ? ExpertId{choice} : uniform(layer, token, choice);
    };
}

std::vector<std::vector<std::int64_t>> deal_tokens(std::int64_t num_tokens, std::int64_t num_dp) {
    constexpr std::int64_t kSequenceLength = 16;
    SP_ASSERT(num_tokens >= 0 && num_dp >= 1);
    const std::int64_t num_sequences = (num_tokens + kSequenceLength - 1) / kSequenceLength;
    const std::int64_t of_each = std::max<std::int64_t>(1, (num_sequences + num_dp - 1) / num_dp) * kSequenceLength;
    std::vector<std::vector<std::int64_t>> tokens(static_cast<std::size_t>(num_dp));
    for (std::int64_t token = 0; token < num_tokens; ++token)
        tokens[static_cast<std::size_t>(token / of_each)].push_back(token);
    return tokens;
}

}  // namespace shardproof::sim
