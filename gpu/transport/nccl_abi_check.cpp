// Our declarations of NCCL's ABI against the pinned headers, where those are: nothing here runs.
#ifdef SHARDPROOF_HAS_NCCL_DEVICE
#include <nccl.h>

#include <type_traits>

#include "gpu/transport/nccl_library.hpp"

namespace shardproof::gpu {
namespace {

static_assert(NCCL_VERSION_CODE == kNcclDeviceApiVersion);
static_assert(std::is_same_v<ncclComm_t, ::ncclComm_t>);
static_assert(sizeof(ncclUniqueId) == sizeof(::ncclUniqueId) && alignof(ncclUniqueId) == alignof(::ncclUniqueId));

template <class Ours, class Theirs>
constexpr bool same_value(Ours ours, Theirs theirs) {
    return sizeof(Ours) == sizeof(Theirs) && static_cast<int>(ours) == static_cast<int>(theirs);
}
static_assert(same_value(ncclSuccess, ::ncclSuccess));
static_assert(same_value(ncclUnhandledCudaError, ::ncclUnhandledCudaError));
static_assert(same_value(ncclSystemError, ::ncclSystemError));
static_assert(same_value(ncclInternalError, ::ncclInternalError));
static_assert(same_value(ncclInvalidArgument, ::ncclInvalidArgument));
static_assert(same_value(ncclInvalidUsage, ::ncclInvalidUsage));
static_assert(same_value(ncclRemoteError, ::ncclRemoteError));
static_assert(same_value(ncclInProgress, ::ncclInProgress));
static_assert(same_value(ncclUint8, ::ncclUint8));
static_assert(same_value(ncclInt32, ::ncclInt32));
static_assert(same_value(ncclInt64, ::ncclInt64));
static_assert(same_value(ncclFloat16, ::ncclFloat16));
static_assert(same_value(ncclFloat32, ::ncclFloat32));
static_assert(same_value(ncclBfloat16, ::ncclBfloat16));
static_assert(same_value(ncclSum, ::ncclSum));

// Ours is a prefix of theirs.
static_assert(offsetof(ncclConfig_t, size) == offsetof(::ncclConfig_t, size));
static_assert(offsetof(ncclConfig_t, magic) == offsetof(::ncclConfig_t, magic));
static_assert(offsetof(ncclConfig_t, version) == offsetof(::ncclConfig_t, version));
static_assert(offsetof(ncclConfig_t, blocking) == offsetof(::ncclConfig_t, blocking));
static_assert(offsetof(ncclConfig_t, after_end) == offsetof(::ncclConfig_t, cgaClusterSize));
static_assert(ncclConfig_t{}.magic == NCCL_API_MAGIC);
static_assert(ncclConfig_t{}.blocking == NCCL_CONFIG_UNDEF_INT);

// The types that pass through a call, theirs named by ours.
template <class T>
struct Named {
    using Type = T;
};
template <>
struct Named<::ncclResult_t> {
    using Type = ncclResult_t;
};
template <>
struct Named<::ncclResult_t*> {
    using Type = ncclResult_t*;
};
template <>
struct Named<::ncclDataType_t> {
    using Type = ncclDataType_t;
};
template <>
struct Named<::ncclRedOp_t> {
    using Type = ncclRedOp_t;
};
template <>
struct Named<::ncclUniqueId> {
    using Type = ncclUniqueId;
};
template <>
struct Named<::ncclUniqueId*> {
    using Type = ncclUniqueId*;
};
template <>
struct Named<::ncclConfig_t*> {
    using Type = ncclConfig_t*;
};
template <class Result, class... Parameters>
struct Named<Result (*)(Parameters...)> {
    using Type = typename Named<Result>::Type (*)(typename Named<Parameters>::Type...);
};

#define SHARDPROOF_SAME(result, name, parameters) \
    static_assert(std::is_same_v<decltype(NcclFunctions::name), typename Named<decltype(&::name)>::Type>);
SHARDPROOF_NCCL_FUNCTIONS(SHARDPROOF_SAME)
SHARDPROOF_NCCL_OPTIONAL_FUNCTIONS(SHARDPROOF_SAME)
#undef SHARDPROOF_SAME

}  // namespace
}  // namespace shardproof::gpu
#endif
