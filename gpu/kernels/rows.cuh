// Moving and combining rows. Whole rows are copied bit by bit; sums accumulate in f32, in the order stated, and are
// rounded once. num_rows pointers are on the device.
#pragma once
#include "gpu/kernels/matrix.hpp"
#include "gpu/stream.hpp"

namespace shardproof::gpu {

// to[s] = x[slot_choice[s] / top_k], for s < num_slots; with weights (f32, by flat choice) each element multiplied by
// weights[slot_choice[s]] and rounded. x [n,D], to [>= num_slots, D].
void gather_slots(ConstMatrix x, const std::int32_t* slot_choice, std::int64_t num_slots, std::int64_t top_k,
                  const float* weights_or_null, Matrix to, StreamView stream);

// to[r] = from[index[r]] for r < *num_rows.
void gather_rows(ConstMatrix from, const std::int32_t* index, const std::int32_t* num_rows, Matrix to,
                 StreamView stream);
// to[index[r]] = from[r] for r < *num_rows; index holds no row twice.
void scatter_rows(ConstMatrix from, const std::int32_t* index, const std::int32_t* num_rows, Matrix to,
                  StreamView stream);

// out[t] = sum over k = 0..K-1, in this order, of weights[t*K+k] * returned[slot_of[t*K+k]]; with weights null of
// returned alone. returned [>= n*K, D], slot_of int32 [n*K], weights f32 [n*K], out [n,D] with n = out.rows.
void combine_slots(ConstMatrix returned, const std::int32_t* slot_of, const float* weights_or_null, std::int64_t top_k,
                   Matrix out, StreamView stream);

}  // namespace shardproof::gpu
