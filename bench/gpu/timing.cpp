#include "bench/gpu/timing.hpp"

#include <algorithm>
#include <cmath>

namespace shardproof::bench {

Spread spread_of(std::vector<double> seconds) {
    std::ranges::sort(seconds);
    const auto at = [&](double share) {
        return seconds[static_cast<std::size_t>(std::lround(share * static_cast<double>(seconds.size() - 1)))];
    };
    return {.median_s = at(0.5), .p10_s = at(0.1), .p90_s = at(0.9), .repetitions = static_cast<int>(seconds.size())};
}

namespace {

std::int64_t twice_l2() {
    int device = 0;
    int l2 = 0;
    gpu::check(cudaGetDevice(&device));
    gpu::check(cudaDeviceGetAttribute(&l2, cudaDevAttrL2CacheSize, device));
    return 2 * static_cast<std::int64_t>(l2);
}

}  // namespace

ColdL2::ColdL2(gpu::StreamView stream) : bytes_{twice_l2()}, stream_{stream} {}

void ColdL2::flush() {
    gpu::check(cudaMemsetAsync(bytes_.data(), 0, static_cast<std::size_t>(bytes_.size()), stream_.raw()));
}

}  // namespace shardproof::bench
