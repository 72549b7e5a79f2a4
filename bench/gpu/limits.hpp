// Limits of the device at hand, measured in the same run as what is compared with them.
#pragma once
#include <string>

#include "gpu/stream.hpp"

namespace shardproof::bench {

struct DeviceLimits {
    double copy_bytes_per_second = 0;   // device to device, bytes read and written, 1 GiB each way
    double bf16_flops_per_second = 0;   // 8192^3 bf16 product on random data
    std::string gemm_by;                // "cublas 13.1", or "shardproof cutlass" where there is no cuBLAS
    double launch_seconds = 0;          // of an empty kernel, back to back: what no stage can undercut
};
[[nodiscard]] DeviceLimits measure_limits(gpu::StreamView stream);

}  // namespace shardproof::bench
