// The dispatch plan computed on the device: what plan_dispatch and plan_arrival compute on the host, to the last
// integer. All counts and indices are int32; n*K and the rows of a rank stay below 2^31 (SP_ASSERT where the host knows
// them).
#pragma once
#include "gpu/kernels/matrix.hpp"
#include "gpu/stream.hpp"

namespace shardproof::gpu {

// Scratch bytes that plan_dispatch_on_device needs for these sizes.
[[nodiscard]] std::int64_t dispatch_scratch_bytes(std::int64_t num_choices, std::int64_t num_experts);

// ids [n*K], each in 0..E-1, E in 1..12288. place[e]: position of expert e in the order of (peer, local expert), a
// permutation of 0..E-1 in device memory. Writes
//   rows_at[E]       rows of the expert at each position,
//   begin_at[E+1]    exclusive sums of rows_at: the first slot of each position; begin_at[E] = n*K,
//   slot_choice[n*K] slot -> flat choice t*K+k, slots ordered by (position, t, k),
//   slot_of[n*K]     the inverse: flat choice -> slot.
// scratch: dispatch_scratch_bytes, 16-byte aligned; its contents do not matter before or after.
void plan_dispatch_on_device(const std::int32_t* ids, std::int64_t num_choices, std::int64_t num_experts,
                             const std::int32_t* place, std::int32_t* rows_at, std::int32_t* begin_at,
                             std::int32_t* slot_choice, std::int32_t* slot_of, void* scratch, StreamView stream);

// counts [peers, locals] row-major, at most 6000 of them: rows of each local expert that each peer sends. Rows arrive
// by (peer, local) and are wanted by (local, peer). Writes
//   expert_begin[locals+1]  first row of each local expert, expert-major; the last entry is the sum,
//   arrival_row[capacity]   expert-major row -> arrival row, its first sum entries only,
// and nothing beyond. capacity >= the sum.
void plan_arrival_on_device(const std::int32_t* counts, std::int64_t num_peers, std::int64_t num_locals,
                            std::int32_t* expert_begin, std::int32_t* arrival_row, std::int64_t capacity,
                            StreamView stream);

}  // namespace shardproof::gpu
