#include "gpu/check.hpp"

#include <fmt/format.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <string_view>

namespace shardproof::gpu {
namespace {

std::string_view base_name(std::string_view path) { return path.substr(path.find_last_of('/') + 1); }

std::string missing(cudaError_t code, const char* file, int line) {
    return fmt::format("CUDA answered {} ({}) at {}:{}", cudaGetErrorName(code), cudaGetErrorString(code),
                       base_name(file), line);
}

}  // namespace

CudaError::CudaError(cudaError_t code, const char* file, int line)
    : EnvironmentError{missing(code, file, line), "see nvidia-smi; a fresh process starts with a clean device"},
      code_{code} {}

void check(cudaError_t code, const char* file, int line) {
    if (code == cudaSuccess) return;
    (void)cudaGetLastError();
    throw CudaError{code, file, line};
}

void report_if_failed(cudaError_t code) noexcept {
    // Owners that outlive main() find the runtime gone, and the memory with it.
    if (code == cudaSuccess || code == cudaErrorCudartUnloading) return;
    (void)cudaGetLastError();
    constexpr std::size_t kCodes = 1024;
    static std::array<std::atomic<bool>, kCodes> reported{};
    const auto idx = static_cast<std::size_t>(code) % kCodes;
    if (reported[idx].exchange(true)) return;
    std::fprintf(stderr, "shardproof: releasing a CUDA resource: %s (%s)\n", cudaGetErrorName(code),
                 cudaGetErrorString(code));
}

}  // namespace shardproof::gpu
