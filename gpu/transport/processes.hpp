// Processes: who launched us, how many we are, which ranks are mine. One process may run all ranks, or each its own.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace shardproof::gpu {

struct Processes {
    std::string launcher;          // "none", "torchrun", "mpirun", "mpiexec", "srun"
    std::string run;               // the same in all processes of a run, most often in no other; 200 bytes at most
    std::int64_t rank = 0;         // of this process
    std::int64_t world = 1;
    std::int64_t local_rank = 0;   // among the processes of this node
    std::int64_t local_world = 1;
    std::string store_host;        // where process 0 keeps the store; "127.0.0.1" on one node
    std::uint16_t store_port = 0;
};
// From RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT (torchrun), OMPI_COMM_WORLD_* (Open
// MPI's mpirun), PMI_* with MPI_LOCAL* (mpiexec of MPICH and Intel MPI) or SLURM_* (srun), in this order; without any
// of them one process. `variable` reads the environment. Throws InputError naming the variable: half a set, not a
// number, rank outside world, several nodes without MASTER_ADDR, several processes without MASTER_PORT under torchrun
// and mpiexec. The store's port is MASTER_PORT, or the one after it where torchrun's agent listens on MASTER_PORT
// itself (TORCHELASTIC_USE_AGENT_STORE); under mpirun and srun without MASTER_PORT, one derived from the ids of the job
// and its step.
[[nodiscard]] Processes find_processes(const std::function<std::optional<std::string>(std::string_view)>& variable);
[[nodiscard]] Processes find_processes();  // of this process's environment

}  // namespace shardproof::gpu
