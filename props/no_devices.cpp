// What there is of Devices in a build without CUDA.
#include "oracle/model/error.hpp"
#include "props/device_check.hpp"

namespace shardproof {

std::unique_ptr<Devices> make_devices(const DevicesOptions&) {
    throw EnvironmentError{"no GPU: this build has no CUDA part",
                           "install a CUDA toolkit (nvcc 13) and build again, or use --backend sim"};
}
void require_one_process(const std::string&) {}
GroupedGemmChoice choose_grouped_gemm(const Plan&, Arithmetic, const std::string&, int) { return {}; }

}  // namespace shardproof
