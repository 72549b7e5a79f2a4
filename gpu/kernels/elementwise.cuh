// Element by element: dtype to arithmetic, RMS norm, SwiGLU, residual. All are asynchronous on `stream`, launch nothing
// for empty operands and accumulate in f32; a bf16 result is rounded once, to nearest even.
#pragma once
#include "gpu/kernels/matrix.hpp"
#include "gpu/stream.hpp"
#include "oracle/model/tensor.hpp"

namespace shardproof::gpu {

// to[i] = from[i] for `count` elements. `from` is BF16, F16 or F32 (SP_ASSERT); 2- or 4-byte aligned, `to` 16.
void convert(const void* from, DType dtype, void* to, Arithmetic arithmetic, std::int64_t count, StreamView stream);

// y = x / sqrt(mean(x^2) + eps) * weight, row by row. x, y [n,D], weight [D] in the same arithmetic; y may be x.
void rms_norm(ConstMatrix x, const void* weight, double eps, Matrix y, StreamView stream);

// gate = silu(gate) * up for the first *num_rows rows. gate, up [capacity,F]; num_rows is on the device, >= 0 and <=
// capacity. In bf16 silu(gate) is not rounded before the product.
void swiglu(Matrix gate, ConstMatrix up, const std::int32_t* num_rows, StreamView stream);

// out = a + b. All [n,D]; out may be a or b.
void add(ConstMatrix a, ConstMatrix b, Matrix out, StreamView stream);

// out = sum of `num_parts` arrays of `count` elements, in order, accumulated in f32 (I64 exactly). dtype F32, BF16 or
// I64. parts is an array of device pointers on the device; out may be one of them.
void sum_parts(const void* const* parts, int num_parts, DType dtype, void* out, std::int64_t count, StreamView stream);

}  // namespace shardproof::gpu
