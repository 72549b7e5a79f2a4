#ifdef SHARDPROOF_HAS_GPU
#include "props/device_faults.hpp"

#include <gtest/gtest.h>

#include "gpu/check.hpp"
#include "gpu/transport/nccl_library.hpp"

namespace shardproof::props {
namespace {

TEST(DeviceFaults, OfARunAreAnswersOfCudaAndNcclButNoLackOfMemory) {
    EXPECT_TRUE(is_of_the_run(gpu::CudaError{cudaErrorIllegalAddress, "x.cu", 1}));
    EXPECT_TRUE(is_of_the_run(gpu::CudaError{cudaErrorLaunchFailure, "x.cu", 1}));
    EXPECT_TRUE(is_of_the_run(gpu::NcclError{1, "unhandled cuda error", "x.cpp", 1}));
    EXPECT_FALSE(is_of_the_run(gpu::CudaError{cudaErrorMemoryAllocation, "x.cu", 1}));
    EXPECT_FALSE(is_of_the_run(EnvironmentError{"not enough device memory", "free some"}));
}

}  // namespace
}  // namespace shardproof::props
#endif
