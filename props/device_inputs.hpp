// What the ranks of a device run are given: rows that the virtual ranks recorded, or small integers.
#pragma once
#include <cstdint>
#include <vector>

#include "gpu/device_world.hpp"
#include "oracle/model/batch.hpp"
#include "sim/plan/plan.hpp"

namespace shardproof::props {

// This process's ranks, with the rows that the virtual ranks recorded.
[[nodiscard]] std::vector<gpu::MoeRank> inputs_of(const StageRecord& stage, const gpu::Session& session);
// Rows of every rank of the world: as recorded, and the same before anything ran.
[[nodiscard]] std::vector<std::int64_t> rows_of(const StageRecord& stage);
[[nodiscard]] std::vector<std::int64_t> rows_of_ranks(const Plan& plan, const Batch& batch);
// Integers of -largest .. largest, the same on all ranks of a data-parallel share; those rows of them that `rank` has.
[[nodiscard]] Rows payload_of(const Plan& plan, const Batch& batch, Rank rank, std::uint64_t seed,
                              std::int64_t largest);

}  // namespace shardproof::props
