// Machine: the devices there are, and what they can do; or why there are none.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace shardproof::gpu {

struct DeviceInfo {
    int ordinal = 0;
    std::string name;           // "NVIDIA H200"
    int compute_capability = 0; // 90 for 9.0
    int num_multiprocessors = 0;
    std::int64_t bytes_total = 0;
    std::int64_t l2_bytes = 0;
};

struct Machine {
    std::vector<DeviceInfo> devices;
    std::string why_none;        // one line, when there are none: no driver, no device, driver too old
    int driver_version = 0;      // CUDA version that the driver supports, 13000 for 13.0; 0: no driver
    int runtime_version = 0;
};
// Never throws for what the machine lacks, and never initialises a device's context.
[[nodiscard]] Machine find_machine();
// What the device has room for now. Initialises its context, which takes some of it. Throws CudaError.
[[nodiscard]] std::int64_t bytes_free_on(int device);
// Throws EnvironmentError saying what is missing and what to do.
void require_device(const Machine& machine);

}  // namespace shardproof::gpu
