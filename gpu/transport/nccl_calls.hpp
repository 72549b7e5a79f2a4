// One rank's side of one collective in NCCL's own calls.
#pragma once
#include "gpu/stream.hpp"
#include "gpu/transport/collective.hpp"
#include "gpu/transport/nccl_abi.hpp"

namespace shardproof::gpu {

struct NcclIssue {
    const NcclFunctions& f;
    ncclComm_t comm = nullptr;  // its ranks are the members of the call's group, in order
    void* scratch = nullptr;    // 4 bytes of device memory of the rank: what a barrier sums
};
// To be called inside a group call, one a local rank. Pairs, slices and parts of no bytes are left out on both sides.
// Throws NcclError.
void issue(const NcclIssue& how, const DeviceCall& call, StreamView stream);

// What a rank moves without its peers: all of a group of one, and what it sends to itself in an all_to_all of more.
void copy_own(const DeviceCall& call, StreamView stream);

}  // namespace shardproof::gpu
