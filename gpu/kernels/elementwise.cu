#include <cuda_fp16.h>

#include "gpu/kernels/device_math.cuh"
#include "gpu/kernels/elementwise.cuh"

namespace shardproof::gpu {
namespace {

constexpr int kThreads = 256;

__device__ float widened(__half value) { return __half2float(value); }
using gpu::widened;

// An operation works on kWidth consecutive elements from i on; packs of kWide where all pointers are aligned.
template <int kWidth, class Operation>
__global__ void __launch_bounds__(kThreads) flat(Operation operation) {
    const std::int64_t count = operation.count();
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * kThreads * kWidth;
    std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kWidth;
    for (; i + kWidth <= count; i += stride) operation.template run<kWidth>(i);
    for (std::int64_t tail = i; tail < count && tail < i + kWidth; ++tail) operation.template run<1>(tail);
}

template <class Operation>
void launch_flat(const Operation& operation, std::int64_t count_max, std::initializer_list<const void*> pointers,
                 StreamView stream) {
    if (count_max == 0) return;
    constexpr int kWide = Operation::kWide;
    if (aligned(pointers)) {
        flat<kWide><<<striding_blocks_for(count_max, kThreads * kWide), kThreads, 0, stream.raw()>>>(operation);
    } else {
        flat<1><<<striding_blocks_for(count_max, kThreads), kThreads, 0, stream.raw()>>>(operation);
    }
    check(cudaGetLastError());
}

template <class From, class To>
struct Convert {
    static constexpr int kWide = kPackBytes / static_cast<int>(std::min(sizeof(From), sizeof(To)));
    const From* from;
    To* to;
    std::int64_t total;
    __device__ std::int64_t count() const { return total; }
    template <int kWidth>
    __device__ void run(std::int64_t i) const {
        const auto in = load_pack<kWidth>(from + i);
        Pack<To, kWidth> out;
#pragma unroll
        for (int j = 0; j < kWidth; ++j) out.at[j] = rounded<To>(widened(in.at[j]));
        store_pack(to + i, out);
    }
};

template <class T>
struct SwiGlu {
    static constexpr int kWide = kPack<T>;
    T* gate;
    const T* up;
    const std::int32_t* num_rows;
    std::int64_t cols;
    __device__ std::int64_t count() const { return *num_rows * cols; }
    // A full division costs more than the memory traffic of bf16, and 1 unit in the last place of f32 is nothing to it.
    __device__ static float silu(float x) {
        const float denominator = 1.0F + expf(-x);
        if constexpr (sizeof(T) == 4) return x / denominator;
        float reciprocal;
        asm("rcp.approx.f32 %0, %1;" : "=f"(reciprocal) : "f"(denominator));
        return x * reciprocal;
    }
    template <int kWidth>
    __device__ void run(std::int64_t i) const {
        auto inout = load_pack<kWidth>(gate + i);
        const auto factor = load_pack<kWidth>(up + i);
#pragma unroll
        for (int j = 0; j < kWidth; ++j) inout.at[j] = rounded<T>(silu(widened(inout.at[j])) * widened(factor.at[j]));
        store_pack(gate + i, inout);
    }
};

template <class T>
struct Add {
    static constexpr int kWide = kPack<T>;
    const T* a;
    const T* b;
    T* out;
    std::int64_t total;
    __device__ std::int64_t count() const { return total; }
    template <int kWidth>
    __device__ void run(std::int64_t i) const {
        auto sum = load_pack<kWidth>(a + i);
        const auto other = load_pack<kWidth>(b + i);
#pragma unroll
        for (int j = 0; j < kWidth; ++j) sum.at[j] = rounded<T>(widened(sum.at[j]) + widened(other.at[j]));
        store_pack(out + i, sum);
    }
};

__device__ std::int64_t widened(std::int64_t value) { return value; }
template <class T>
__device__ T settled(float sum) {
    return rounded<T>(sum);
}
template <class T>
__device__ T settled(std::int64_t sum) {
    return sum;
}

// The host does not see the parts' addresses: whether one is aligned is found out here.
template <class T>
struct SumParts {
    static constexpr int kWide = kPack<T>;
    using Sum = decltype(widened(T{}));
    const T* const* parts;
    int num_parts;
    T* out;
    std::int64_t total;
    __device__ std::int64_t count() const { return total; }
    template <int kWidth>
    __device__ static Pack<T, kWidth> load(const T* from) {
        Pack<T, kWidth> pack;
        if constexpr (sizeof(pack) == sizeof(uint4)) {
            if (reinterpret_cast<std::uintptr_t>(from) % sizeof(uint4) == 0) {
                // A plain load would be split into elements to share the code below.
                const uint4 bits = __ldcs(reinterpret_cast<const uint4*>(from));
                memcpy(&pack, &bits, sizeof(bits));
                return pack;
            }
        }
#pragma unroll
        for (int j = 0; j < kWidth; ++j) pack.at[j] = from[j];
        return pack;
    }
    template <int kWidth>
    __device__ void run(std::int64_t i) const {
        Sum sum[kWidth] = {};
#pragma unroll 4
        for (int p = 0; p < num_parts; ++p) {
            const auto part = load<kWidth>(parts[p] + i);
#pragma unroll
            for (int j = 0; j < kWidth; ++j) sum[j] = p == 0 ? widened(part.at[j]) : sum[j] + widened(part.at[j]);
        }
        Pack<T, kWidth> result;
#pragma unroll
        for (int j = 0; j < kWidth; ++j) result.at[j] = settled<T>(sum[j]);
        store_pack(out + i, result);
    }
};

template <class From, class To>
void launch_convert(const void* from, void* to, std::int64_t count, StreamView stream) {
    launch_flat(Convert<From, To>{static_cast<const From*>(from), static_cast<To*>(to), count}, count, {from, to},
                stream);
}

template <class T>
void launch_sum(const void* const* parts, int num_parts, void* out, std::int64_t count, StreamView stream) {
    const auto* typed = reinterpret_cast<const T* const*>(parts);
    launch_flat(SumParts<T>{typed, num_parts, static_cast<T*>(out), count}, count, {out}, stream);
}

bool same_form(const ConstMatrix& a, const ConstMatrix& b) {
    return a.rows == b.rows && a.cols == b.cols && a.arithmetic == b.arithmetic;
}

}  // namespace

void convert(const void* from, DType dtype, void* to, Arithmetic arithmetic, std::int64_t count, StreamView stream) {
    SP_ASSERT(dtype == DType::BF16 || dtype == DType::F16 || dtype == DType::F32);
    const bool to_f32 = arithmetic == Arithmetic::f32;
    if (count == 0) return;
    if (dtype == (to_f32 ? DType::F32 : DType::BF16)) {
        const auto bytes = static_cast<std::size_t>(count * element_bytes(arithmetic));
        check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream.raw()));
    } else if (dtype == DType::F16) {
        to_f32 ? launch_convert<__half, float>(from, to, count, stream)
               : launch_convert<__half, __nv_bfloat16>(from, to, count, stream);
    } else {
        to_f32 ? launch_convert<__nv_bfloat16, float>(from, to, count, stream)
               : launch_convert<float, __nv_bfloat16>(from, to, count, stream);
    }
}

void swiglu(Matrix gate, ConstMatrix up, const std::int32_t* num_rows, StreamView stream) {
    SP_ASSERT(same_form(gate, up));
    with_element(gate.arithmetic, [&](auto zero) {
        using T = decltype(zero);
        const SwiGlu<T> operation{static_cast<T*>(gate.data), static_cast<const T*>(up.data), num_rows, gate.cols};
        launch_flat(operation, gate.rows * gate.cols, {gate.data, up.data}, stream);
    });
}

void add(ConstMatrix a, ConstMatrix b, Matrix out, StreamView stream) {
    SP_ASSERT(same_form(a, b) && same_form(a, out));
    const std::int64_t count = out.rows * out.cols;
    with_element(out.arithmetic, [&](auto zero) {
        using T = decltype(zero);
        const Add<T> operation{static_cast<const T*>(a.data), static_cast<const T*>(b.data), static_cast<T*>(out.data),
                               count};
        launch_flat(operation, count, {a.data, b.data, out.data}, stream);
    });
}

void sum_parts(const void* const* parts, int num_parts, DType dtype, void* out, std::int64_t count, StreamView stream) {
    SP_ASSERT(num_parts >= 0);
    switch (dtype) {
        case DType::F32:
            return launch_sum<float>(parts, num_parts, out, count, stream);
        case DType::BF16:
            return launch_sum<__nv_bfloat16>(parts, num_parts, out, count, stream);
        case DType::I64:
            return launch_sum<std::int64_t>(parts, num_parts, out, count, stream);
        default:
            SP_ASSERT(dtype == DType::F32 || dtype == DType::BF16 || dtype == DType::I64);
    }
}

}  // namespace shardproof::gpu
