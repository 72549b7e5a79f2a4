// The arithmetic of a virtual rank: f32, or bf16 values with f32 accumulation. Row-major; a row's result depends on
// that row alone, so it is the same in whatever batch the row stands.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "oracle/model/result.hpp"

namespace shardproof::sim {

// A weight ready for use: local shape, widened to f32. Its own values, or where the rank holds them as f32 already
// those.
struct Weight {
    Shape shape;
    std::vector<float> values = {};
    std::span<const float> held = {};  // of the rank's shard: not owned
    [[nodiscard]] std::span<const float> all() const { return held.empty() ? std::span<const float>{values} : held; }
};

// Rounds every value to what the arithmetic can hold: nothing in f32, to nearest bf16 in bf16.
void settle(std::span<float> values, Arithmetic arithmetic);

[[nodiscard]] Rows make_rows(std::int64_t rows, std::int64_t cols);  // zeros
[[nodiscard]] Rows slice_rows(const Rows& all, std::int64_t begin, std::int64_t end);

// y[n,out] = x[n,in] * w[out,in]^T. Sums run over `in` in one fixed order of 16 interleaved partial sums, each product
// added without rounding first (fused): the same bits on every machine.
void linear(const float* x, std::int64_t n, std::int64_t in, const float* w, std::int64_t out, float* y);
// The same, to the same bits, by plain C++: what `linear` is on a machine without AVX2 and FMA.
void portable_linear(const float* x, std::int64_t n, std::int64_t in, const float* w, std::int64_t out, float* y);
[[nodiscard]] Rows linear(const Rows& x, const Weight& w, Arithmetic arithmetic);
[[nodiscard]] float dot(const float* a, const float* b, std::int64_t n);

// x / sqrt(mean(x^2) + eps) * w over each group of `w.size()` columns.
[[nodiscard]] Rows rms_norm(const Rows& x, const Weight& w, double eps, Arithmetic arithmetic);

// a += b, element by element.
void add(Rows& a, const Rows& b, Arithmetic arithmetic);

// silu(gate) * up, into gate.
void swiglu(std::span<float> gate, std::span<const float> up, Arithmetic arithmetic);

}  // namespace shardproof::sim
