#include "gpu/machine.hpp"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "gpu/check.hpp"
#include "gpu/stream.hpp"

namespace shardproof::gpu {
namespace {

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

// One line for what cudaGetDeviceCount answered when it found nothing.
std::string why_none(cudaError_t code, const Machine& machine) {
    const std::string runtime = version_text(machine.runtime_version);
    if (code == cudaErrorInsufficientDriver && machine.driver_version == 0)
        return fmt::format("no NVIDIA driver is loaded (CUDA {} is built in)", runtime);
    if (code == cudaErrorInsufficientDriver)
        return fmt::format("the NVIDIA driver supports CUDA {}, this program needs {}",
                           version_text(machine.driver_version), runtime);
    if (code == cudaErrorNoDevice || code == cudaSuccess)
        return "the NVIDIA driver sees no GPU (CUDA_VISIBLE_DEVICES may hide it)";
    return fmt::format("CUDA answered {} ({}) when asked for devices", cudaGetErrorName(code),
                       cudaGetErrorString(code));
}

DeviceInfo device_info(int ordinal) {
    DeviceInfo info;
    info.ordinal = ordinal;
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, ordinal) != cudaSuccess) {
        (void)cudaGetLastError();
        info.name = "unknown";
        return info;
    }
    info.name = static_cast<const char*>(properties.name);
    info.compute_capability = properties.major * 10 + properties.minor;
    info.num_multiprocessors = properties.multiProcessorCount;
    info.bytes_total = static_cast<std::int64_t>(properties.totalGlobalMem);
    info.l2_bytes = properties.l2CacheSize;
    return info;
}

}  // namespace

Machine find_machine() {
    Machine machine;
    if (cudaDriverGetVersion(&machine.driver_version) != cudaSuccess) machine.driver_version = 0;
    if (cudaRuntimeGetVersion(&machine.runtime_version) != cudaSuccess) machine.runtime_version = 0;
    int count = 0;
    const cudaError_t code = cudaGetDeviceCount(&count);
    (void)cudaGetLastError();
    if (code != cudaSuccess || count == 0) {
        machine.why_none = why_none(code, machine);
        return machine;
    }
    for (int ordinal = 0; ordinal < count; ++ordinal) machine.devices.push_back(device_info(ordinal));
    return machine;
}

std::int64_t bytes_free_on(int device) {
    const DeviceScope scope{device};
    std::size_t free = 0;
    std::size_t total = 0;
    check(cudaMemGetInfo(&free, &total));
    return static_cast<std::int64_t>(free);
}

void require_device(const Machine& machine) {
    if (!machine.devices.empty()) return;
    throw EnvironmentError{fmt::format("no GPU: {}", machine.why_none),
                           "run it where nvidia-smi lists a GPU and a driver new enough"};
}

}  // namespace shardproof::gpu
