// The part of NCCL's C ABI that we call, declared here, so that no NCCL header is needed to build. It has been stable
// since 2.14; nccl_abi_check.cpp compares it with the pinned headers where they are.
#pragma once
#include <cuda_runtime_api.h>

#include <climits>
#include <cstddef>

struct ncclComm;  // NCCL's own, as its header declares it: both may be included

namespace shardproof::gpu {

using ncclComm_t = ::ncclComm*;

struct ncclUniqueId {
    char internal[128];
};

enum ncclResult_t : int {
    ncclSuccess = 0,
    ncclUnhandledCudaError = 1,
    ncclSystemError = 2,
    ncclInternalError = 3,
    ncclInvalidArgument = 4,
    ncclInvalidUsage = 5,
    ncclRemoteError = 6,
    ncclInProgress = 7,
};

enum ncclDataType_t : int {
    ncclUint8 = 1,
    ncclInt32 = 2,
    ncclInt64 = 4,
    ncclFloat16 = 6,
    ncclFloat32 = 7,
    ncclBfloat16 = 9,
};

enum ncclRedOp_t : int { ncclSum = 0 };

// The configuration as NCCL 2.14 knew it. A library copies `size` bytes of what it is given and takes its own defaults
// for all that came after `version`, so every later library accepts it.
struct ncclConfig_t {
    std::size_t size = sizeof(ncclConfig_t);
    unsigned int magic = 0xcafebeef;
    unsigned int version = 21400;
    int blocking = INT_MIN;   // INT_MIN: the library's default; 0: no call waits for peers
    int after_end = INT_MIN;  // where 2.14 had padding and later versions have a field
};
inline constexpr int kNcclConfigVersion = 21400;  // the oldest library that has it

// One line a function: it is declared here and looked up by this name.
// clang-format off
#define SHARDPROOF_NCCL_FUNCTIONS(F)                                                                                   \
    F(ncclResult_t, ncclGetVersion, (int* version))                                                                    \
    F(ncclResult_t, ncclGetUniqueId, (ncclUniqueId* id))                                                               \
    F(ncclResult_t, ncclCommInitRankConfig,                                                                            \
      (ncclComm_t* comm, int num_ranks, ncclUniqueId id, int rank, ncclConfig_t* config))                              \
    F(ncclResult_t, ncclCommFinalize, (ncclComm_t comm))                                                               \
    F(ncclResult_t, ncclCommDestroy, (ncclComm_t comm))                                                                \
    F(ncclResult_t, ncclCommAbort, (ncclComm_t comm))                                                                  \
    F(ncclResult_t, ncclCommGetAsyncError, (ncclComm_t comm, ncclResult_t* state))                                     \
    F(const char*, ncclGetErrorString, (ncclResult_t result))                                                          \
    F(const char*, ncclGetLastError, (ncclComm_t comm))                                                                \
    F(ncclResult_t, ncclGroupStart, ())                                                                                \
    F(ncclResult_t, ncclGroupEnd, ())                                                                                  \
    F(ncclResult_t, ncclAllReduce, (const void* send, void* receive, std::size_t count, ncclDataType_t type,           \
      ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream))                                                           \
    F(ncclResult_t, ncclReduce, (const void* send, void* receive, std::size_t count, ncclDataType_t type,              \
      ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream))                                                 \
    F(ncclResult_t, ncclReduceScatter, (const void* send, void* receive, std::size_t receive_count,                    \
      ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream))                                      \
    F(ncclResult_t, ncclAllGather, (const void* send, void* receive, std::size_t send_count, ncclDataType_t type,      \
      ncclComm_t comm, cudaStream_t stream))                                                                           \
    F(ncclResult_t, ncclBroadcast, (const void* send, void* receive, std::size_t count, ncclDataType_t type, int root, \
      ncclComm_t comm, cudaStream_t stream))                                                                           \
    F(ncclResult_t, ncclSend, (const void* send, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,    \
      cudaStream_t stream))                                                                                            \
    F(ncclResult_t, ncclRecv, (void* receive, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,       \
      cudaStream_t stream))
// Not in every library that can be used: nullptr there.
#define SHARDPROOF_NCCL_OPTIONAL_FUNCTIONS(F) F(ncclResult_t, ncclCommRevoke, (ncclComm_t comm, int flags))
// clang-format on

struct NcclFunctions {
// NOLINTNEXTLINE(bugprone-macro-parentheses): a declaration's parts take none
#define SHARDPROOF_MEMBER(result, name, parameters) result(*name) parameters = nullptr;
    SHARDPROOF_NCCL_FUNCTIONS(SHARDPROOF_MEMBER)
    SHARDPROOF_NCCL_OPTIONAL_FUNCTIONS(SHARDPROOF_MEMBER)
#undef SHARDPROOF_MEMBER
};

}  // namespace shardproof::gpu
