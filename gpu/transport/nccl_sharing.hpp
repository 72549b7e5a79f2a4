// Which ranks share a GPU, and what NCCL must be told before its first call so that they can.
#pragma once
#include <string>

#include "gpu/transport/transport.hpp"

namespace shardproof::gpu {

struct GpuSharing {
    int ranks_of_process = 1;    // the most that this process runs on one GPU
    int ranks_of_all = 1;        // the most that all processes run on any one GPU: the same for all
    int num_multiprocessors = 0; // the fewest of this process's GPUs
};
// Compares the GPUs of all ranks; with a store, waits for every process to tell its own under keys that begin with
// `prefix`. Throws EnvironmentError naming the ranks that did not by the deadline, one for all.
[[nodiscard]] GpuSharing find_sharing(const TransportOptions& options, const std::string& prefix);

// Sets NCCL's variables where they are not set, in every process alike: a communicator may join ranks that share a GPU
// and ranks that do not. Throws EnvironmentError: `version` is too old for several ranks of one
// process on one GPU, or a variable is set to what cannot work.
void prepare_nccl_environment(const GpuSharing& sharing, int version, Rank first_rank);

}  // namespace shardproof::gpu
