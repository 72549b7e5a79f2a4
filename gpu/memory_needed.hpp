// How much device memory a layer takes, known before anything is loaded.
#pragma once
#include <cstdint>
#include <span>
#include <string>

#include "gpu/session.hpp"
#include "oracle/model/result.hpp"
#include "sim/plan/plan.hpp"

namespace shardproof::gpu {

// Bytes that MoE layer `layer` takes on the device of `rank`: shards, gathered and converted weights, workspaces of
// rows_of_rank rows. The workspaces of a GEMM and what NCCL takes for itself come on top.
[[nodiscard]] std::int64_t layer_bytes(const Plan& plan, std::int64_t layer, Rank rank,
                                       std::span<const std::int64_t> rows_of_rank, Arithmetic arithmetic);

// Throws EnvironmentError naming the device, bytes needed and free, when the largest MoE layer of this process's ranks
// does not fit.
void require_device_memory(const Plan& plan, const Session& session, std::span<const std::int64_t> rows_of_rank,
                           Arithmetic arithmetic);

}  // namespace shardproof::gpu
