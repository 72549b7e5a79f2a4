// What the CUDA runtime and NCCL answered, as exceptions with call site and code. Both are the environment's failures.
#pragma once
#include <cuda_runtime_api.h>

#include <string>

#include "oracle/model/error.hpp"

namespace shardproof::gpu {

class CudaError : public EnvironmentError {
public:
    CudaError(cudaError_t code, const char* file, int line);
    [[nodiscard]] cudaError_t code() const { return code_; }

private:
    cudaError_t code_;
};

// Throws CudaError, and clears CUDA's last-error slot so that the next call does not report this one again.
void check(cudaError_t code, const char* file = __builtin_FILE(), int line = __builtin_LINE());
// For destructors: one line on standard error, once a code.
void report_if_failed(cudaError_t code) noexcept;

}  // namespace shardproof::gpu
