#include "gpu/transport/nccl_group.hpp"

#include <algorithm>

#include "gpu/patience.hpp"

namespace shardproof::gpu {
namespace {

bool settled(const NcclFunctions& f, ncclComm_t comm, std::chrono::steady_clock::time_point deadline) {
    Patience patience;
    ncclResult_t state = ncclInProgress;
    while (f.ncclCommGetAsyncError(comm, &state) == ncclSuccess && state == ncclInProgress) {
        if (patience.pause() && std::chrono::steady_clock::now() >= deadline) return false;
    }
    return state == ncclSuccess;
}

// One group call for all, so that all abort flags are raised before any memory is freed: freeing waits for the device,
// where another rank's kernel may still wait for its peers.
void for_all(const NcclFunctions& f, const std::vector<ncclComm_t>& comms, ncclResult_t (*what)(ncclComm_t)) {
    (void)f.ncclGroupStart();
    for (ncclComm_t comm : comms) (void)what(comm);
    (void)f.ncclGroupEnd();
}

}  // namespace

void revoke_all(const NcclFunctions& f, const std::vector<ncclComm_t>& comms) noexcept {
    if (f.ncclCommRevoke == nullptr) return;
    for (ncclComm_t comm : comms) (void)f.ncclCommRevoke(comm, 0);
}

void abort_all(const NcclFunctions& f, const std::vector<ncclComm_t>& comms) noexcept {
    for_all(f, comms, f.ncclCommAbort);
}

void destroy_all(const NcclFunctions& f, const std::vector<ncclComm_t>& comms, double seconds) noexcept {
    const auto deadline = moment_in(seconds);
    for_all(f, comms, f.ncclCommFinalize);
    const bool quiet = std::ranges::all_of(comms, [&](ncclComm_t comm) { return settled(f, comm, deadline); });
    for_all(f, comms, quiet ? f.ncclCommDestroy : f.ncclCommAbort);
}

}  // namespace shardproof::gpu
