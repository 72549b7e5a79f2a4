#include "gpu/kernels/device_math.cuh"
#include "gpu/kernels/elementwise.cuh"

namespace shardproof::gpu {
namespace {

constexpr int kThreadsMax = 256;
constexpr int kHeld = 4;  // packs of its row that a thread keeps between the two passes; wider rows are read twice

template <class T, int kWidth>
__device__ float sum_of_squares(const Pack<T, kWidth>& pack) {
    float sum = 0.0F;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum = fmaf(widened(pack.at[j]), widened(pack.at[j]), sum);
    return sum;
}

template <class T, int kWidth>
__device__ void store_scaled(const Pack<T, kWidth>& pack, float scale, const T* weight, T* to) {
    const auto factor = load_pack<kWidth>(weight);
    Pack<T, kWidth> out;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) out.at[j] = rounded<T>(widened(pack.at[j]) * scale * widened(factor.at[j]));
    store_pack(to, out);
}

// A block a row. A thread reads again only what it alone writes: y may be x.
template <class T, int kWidth>
__global__ void __launch_bounds__(kThreadsMax)
    rms_norm_row(const T* x, const T* weight, float eps, T* y, std::int64_t cols) {
    x += blockIdx.x * cols;
    y += blockIdx.x * cols;
    const std::int64_t first = static_cast<std::int64_t>(threadIdx.x) * kWidth;
    const std::int64_t stride = static_cast<std::int64_t>(blockDim.x) * kWidth;
    Pack<T, kWidth> held[kHeld];
    float sum = 0.0F;
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
        if (first + h * stride < cols) held[h] = load_pack<kWidth>(x + first + h * stride);
    }
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
        if (first + h * stride < cols) sum += sum_of_squares(held[h]);
    }
    for (std::int64_t c = first + kHeld * stride; c < cols; c += stride)
        sum += sum_of_squares(load_pack<kWidth>(x + c));

    const float mean = block_sum(sum) / static_cast<float>(cols);
    const float scale = 1.0F / sqrtf(mean + eps);
#pragma unroll
    for (int h = 0; h < kHeld; ++h) {
        const std::int64_t c = first + h * stride;
        if (c < cols) store_scaled(held[h], scale, weight + c, y + c);
    }
    for (std::int64_t c = first + kHeld * stride; c < cols; c += stride) {
        store_scaled(load_pack<kWidth>(x + c), scale, weight + c, y + c);
    }
}

// About two packs a thread, so that several rows share a multiprocessor and each has its loads in flight at once.
unsigned threads_for(std::int64_t packs) {
    const std::int64_t warps = (packs + 2 * kWarp - 1) / (2 * kWarp);
    return static_cast<unsigned>(std::min<std::int64_t>(warps * kWarp, kThreadsMax));
}

template <class T, int kWidth>
void launch(const ConstMatrix& x, const void* weight, double eps, const Matrix& y, StreamView stream) {
    rms_norm_row<T, kWidth><<<blocks_for(x.rows, 1), threads_for(x.cols / kWidth), 0, stream.raw()>>>(
        static_cast<const T*>(x.data), static_cast<const T*>(weight), static_cast<float>(eps), static_cast<T*>(y.data),
        x.cols);
    check(cudaGetLastError());
}

}  // namespace

void rms_norm(ConstMatrix x, const void* weight, double eps, Matrix y, StreamView stream) {
    SP_ASSERT(x.rows == y.rows && x.cols == y.cols && x.arithmetic == y.arithmetic);
    if (x.rows == 0 || x.cols == 0) return;
    with_element(x.arithmetic, [&](auto zero) {
        using T = decltype(zero);
        packs_fit<T>(x.cols, {x.data, weight, y.data}) ? launch<T, kPack<T>>(x, weight, eps, y, stream)
                                                       : launch<T, 1>(x, weight, eps, y, stream);
    });
}

}  // namespace shardproof::gpu
