// Medians of CUDA event times, each repetition on a cold L2.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "gpu/buffer.hpp"
#include "gpu/stream.hpp"

namespace shardproof::bench {

struct Spread {
    double median_s = 0;
    double p10_s = 0;
    double p90_s = 0;
    int repetitions = 0;
};
[[nodiscard]] Spread spread_of(std::vector<double> seconds);

// Writes over twice the L2, so that nothing of the last repetition is left there.
class ColdL2 {
public:
    explicit ColdL2(gpu::StreamView stream);
    void flush();

private:
    gpu::DeviceBytes bytes_;
    gpu::StreamView stream_;
};

}  // namespace shardproof::bench
