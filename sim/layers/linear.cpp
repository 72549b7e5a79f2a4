// The product that virtual ranks spend their time in. Each element of y is 16 partial sums, lane j of them over the
// indices of `in` that are j modulo 16, added up in one fixed order: whatever else is computed beside it.
#include <algorithm>
#include <array>
#include <cmath>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "sim/layers/ops.hpp"

namespace shardproof::sim {

namespace {

constexpr std::int64_t kLanes = 16;

float sum_of_lanes(const std::array<float, kLanes>& lanes) {
    std::array<float, 8> eight{};
    for (std::size_t i = 0; i < 8; ++i) eight[i] = lanes[i] + lanes[i + 8];
    for (std::size_t width = 4; width >= 1; width /= 2) {
        for (std::size_t i = 0; i < width; ++i) eight[i] += eight[i + width];
    }
    return eight[0];
}

#if defined(__x86_64__)

// Sums of `rows` rows of x with `outs` rows of w, kept in registers: 12 of the 16 that AVX2 has at 2 and 3.
template <int rows, int outs>
[[gnu::target("avx2,fma"), gnu::always_inline]] inline void tile(const float* x, const float* w, std::int64_t in,
                                                                 std::int64_t out, float* y) {
    __m256 sums[2][rows][outs];  // lanes 0 .. 7 and 8 .. 15
    for (auto& half : sums) {
        for (auto& row : half) {
            for (__m256& sum : row) sum = _mm256_setzero_ps();
        }
    }
    std::int64_t i = 0;
    for (; i + kLanes <= in; i += kLanes) {
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
            __m256 x_lanes[rows];
            for (int r = 0; r < rows; ++r) x_lanes[r] = _mm256_loadu_ps(x + r * in + i + half * 8);
            for (int o = 0; o < outs; ++o) {
                __m256 w_lanes = _mm256_loadu_ps(w + o * in + i + half * 8);
                __asm__("" : "+x"(w_lanes));  // stays in a register: gcc would load it again for each row
                for (int r = 0; r < rows; ++r)
                    sums[half][r][o] = _mm256_fmadd_ps(x_lanes[r], w_lanes, sums[half][r][o]);
            }
        }
    }
    for (int r = 0; r < rows; ++r) {
        for (int o = 0; o < outs; ++o) {
            __m256& low = sums[0][r][o];
            __m256& high = sums[1][r][o];
            if (i < in) {
                alignas(32) std::array<float, kLanes> lanes;
                _mm256_store_ps(lanes.data(), low);
                _mm256_store_ps(lanes.data() + 8, high);
                for (std::int64_t j = 0; i + j < in; ++j) {
                    float& lane = lanes[static_cast<std::size_t>(j)];
                    lane = std::fma(x[r * in + i + j], w[o * in + i + j], lane);
                }
                low = _mm256_load_ps(lanes.data());
                high = _mm256_load_ps(lanes.data() + 8);
            }
            // As sum_of_lanes() adds them.
            const __m256 eight = _mm256_add_ps(low, high);
            const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
            const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            y[r * out + o] = _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
        }
    }
}

template <int rows>
[[gnu::target("avx2,fma"), gnu::always_inline]] inline void row_block(const float* x, std::int64_t in, const float* w,
                                                                      std::int64_t out, std::int64_t first_out,
                                                                      std::int64_t num_outs, float* y) {
    std::int64_t o = first_out;
    if (num_outs == 3) {
        tile<rows, 3>(x, w + o * in, in, out, y + o);
    } else {
        for (; o < first_out + num_outs; ++o) tile<rows, 1>(x, w + o * in, in, out, y + o);
    }
}

// Rows of x that stay in the first-level cache while all of w passes by.
[[gnu::target("avx2,fma")]] void fused_linear(const float* x, std::int64_t n, std::int64_t in, const float* w,
                                              std::int64_t out, float* y) {
    constexpr std::int64_t kBlockFloats = 4096;
    const std::int64_t block = std::max<std::int64_t>(2, kBlockFloats / std::max<std::int64_t>(in, 1));
    for (std::int64_t first = 0; first < n; first += block) {
        const std::int64_t end = std::min(n, first + block);
        for (std::int64_t o = 0; o < out; o += 3) {
            const std::int64_t num_outs = std::min<std::int64_t>(3, out - o);
            std::int64_t t = first;
            for (; t + 2 <= end; t += 2) row_block<2>(x + t * in, in, w, out, o, num_outs, y + t * out);
            if (t < end) row_block<1>(x + t * in, in, w, out, o, num_outs, y + t * out);
        }
    }
}

#endif

}  // namespace

void portable_linear(const float* x, std::int64_t n, std::int64_t in, const float* w, std::int64_t out, float* y) {
    for (std::int64_t o = 0; o < out; ++o) {
        const float* row = w + o * in;
        for (std::int64_t t = 0; t < n; ++t) {
            std::array<float, kLanes> lanes{};
            for (std::int64_t i = 0; i < in; ++i) {
                float& lane = lanes[static_cast<std::size_t>(i % kLanes)];
                lane = std::fma(x[t * in + i], row[i], lane);
            }
            y[t * out + o] = sum_of_lanes(lanes);
        }
    }
}

void linear(const float* x, std::int64_t n, std::int64_t in, const float* w, std::int64_t out, float* y) {
#if defined(__x86_64__)
    static const bool fused = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
    if (fused) return fused_linear(x, n, in, w, out, y);
#endif
    portable_linear(x, n, in, w, out, y);
}

}  // namespace shardproof::sim
