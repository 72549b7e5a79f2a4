// NCCL's group calls, and what is done to many communicators of one process at once.
#pragma once
#include <vector>

#include "gpu/transport/nccl_library.hpp"

namespace shardproof::gpu {

// Every group call that was begun is ended, also where a call inside it failed.
class NcclGroupCall {
public:
    explicit NcclGroupCall(const NcclFunctions& f) : f_{f} { check(f_.ncclGroupStart()); }
    ~NcclGroupCall() {
        if (open_) (void)f_.ncclGroupEnd();
    }
    NcclGroupCall(const NcclGroupCall&) = delete;
    NcclGroupCall& operator=(const NcclGroupCall&) = delete;
    // Throws NcclError. On non-blocking communicators the calls may still be under way: wait for each.
    void end() {
        open_ = false;
        check(f_.ncclGroupEnd());
    }

private:
    const NcclFunctions& f_;
    bool open_ = true;
};

// Ends what their streams still run and frees nothing, where the library can (2.29 and later). May not return where
// NCCL or the device are broken.
void revoke_all(const NcclFunctions& f, const std::vector<ncclComm_t>& comms) noexcept;
// Frees them, and ends what their streams still run. May not return where NCCL or the device are broken.
void abort_all(const NcclFunctions& f, const std::vector<ncclComm_t>& comms) noexcept;
// Lets what was issued leave, then frees them; aborts where that takes longer than `seconds`.
void destroy_all(const NcclFunctions& f, const std::vector<ncclComm_t>& comms, double seconds) noexcept;

}  // namespace shardproof::gpu
