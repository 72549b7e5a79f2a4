#include "bench/gpu/limits.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <vector>

#include "bench/gpu/timing.hpp"
#include "gpu/kernels/elementwise.cuh"
#include "gpu/kernels/grouped_gemm.hpp"
#include "oracle/model/error.hpp"
#include "sim/prng.hpp"

namespace shardproof::bench {
namespace {

constexpr int kRepetitions = 9;

template <class Enqueue>
double median_seconds(gpu::StreamView stream, const Enqueue& enqueue) {
    for (int warm = 0; warm < 3; ++warm) enqueue();
    std::vector<double> seconds;
    for (int i = 0; i < kRepetitions; ++i) {
        gpu::Event begin{gpu::Timing::on};
        gpu::Event end{gpu::Timing::on};
        begin.record(stream);
        enqueue();
        end.record(stream);
        gpu::check(cudaStreamSynchronize(stream.raw()));
        seconds.push_back(end.milliseconds_since(begin) * 1e-3);
    }
    return spread_of(std::move(seconds)).median_s;
}

double copy_rate(gpu::StreamView stream) {
    constexpr std::int64_t kBytes = std::int64_t{1} << 30;
    const gpu::DeviceBytes from{kBytes};
    const gpu::DeviceBytes to{kBytes};
    const double seconds = median_seconds(stream, [&] {
        gpu::check(cudaMemcpyAsync(to.data(), from.data(), kBytes, cudaMemcpyDeviceToDevice, stream.raw()));
    });
    return 2.0 * static_cast<double>(kBytes) / seconds;
}

// Uniform in +-1: the rate of a product depends on its data.
void fill_random(gpu::DeviceBytes& bytes, std::int64_t count, gpu::StreamView stream) {
    constexpr std::int64_t kPattern = 1 << 20;
    std::vector<float> values(static_cast<std::size_t>(kPattern));
    sim::Prng prng{7};
    for (float& value : values) value = static_cast<float>(prng.below(1U << 20U)) * 0x1p-19F - 1.0F;
    const gpu::DeviceBytes pattern{kPattern * 4};
    gpu::upload(std::as_bytes(std::span{values}), pattern.data(), stream);
    for (std::int64_t at = 0; at < count; at += kPattern) {
        gpu::convert(pattern.data(), DType::F32, bytes.data() + 2 * at, Arithmetic::bf16,
                     std::min(kPattern, count - at), stream);
    }
    gpu::check(cudaStreamSynchronize(stream.raw()));
}

// cuBLAS by name, so that nothing is linked: the C interface of version 12 and 13.
struct Cublas {
    using Create = int (*)(void**);
    using SetStream = int (*)(void*, cudaStream_t);
    using GetVersion = int (*)(void*, int*);
    using GemmEx = int (*)(void*, int, int, int, int, int, const void*, const void*, int, int, const void*, int, int,
                           const void*, void*, int, int, int, int);
    void* handle = nullptr;
    GemmEx gemm = nullptr;
    int version = 0;
};

Cublas find_cublas(gpu::StreamView stream) {
    Cublas cublas;
    void* library = nullptr;
    for (const char* name : {"libcublas.so.13", "libcublas.so.12"}) {
        library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
        if (library != nullptr) break;
    }
    if (library == nullptr) return cublas;
    const auto create = reinterpret_cast<Cublas::Create>(dlsym(library, "cublasCreate_v2"));
    const auto set_stream = reinterpret_cast<Cublas::SetStream>(dlsym(library, "cublasSetStream_v2"));
    const auto get_version = reinterpret_cast<Cublas::GetVersion>(dlsym(library, "cublasGetVersion_v2"));
    const auto gemm = reinterpret_cast<Cublas::GemmEx>(dlsym(library, "cublasGemmEx"));
    if (create == nullptr || set_stream == nullptr || get_version == nullptr || gemm == nullptr) return cublas;
    if (create(&cublas.handle) != 0 || set_stream(cublas.handle, stream.raw()) != 0) return {};
    get_version(cublas.handle, &cublas.version);
    cublas.gemm = gemm;
    return cublas;
}

void measure_gemm(gpu::StreamView stream, DeviceLimits& limits) {
    constexpr int kSize = 8192;
    constexpr std::int64_t kCount = std::int64_t{kSize} * kSize;
    gpu::DeviceBytes a{2 * kCount};
    gpu::DeviceBytes b{2 * kCount};
    const gpu::DeviceBytes c{2 * kCount};
    fill_random(a, kCount, stream);
    fill_random(b, kCount, stream);
    constexpr double kFlops = 2.0 * kSize * static_cast<double>(kCount);
    const Cublas cublas = find_cublas(stream);
    if (cublas.gemm != nullptr) {
        constexpr int kTranspose = 1;
        constexpr int kPlain = 0;
        constexpr int kBf16 = 14;          // CUDA_R_16BF
        constexpr int kF32Accumulate = 68;  // CUBLAS_COMPUTE_32F
        const float one = 1.0F;
        const float zero = 0.0F;
        const double seconds = median_seconds(stream, [&] {
            const int answer =
                cublas.gemm(cublas.handle, kTranspose, kPlain, kSize, kSize, kSize, &one, a.data(), kBf16, kSize,
                            b.data(), kBf16, kSize, &zero, c.data(), kBf16, kSize, kF32Accumulate, -1);
            SP_ASSERT(answer == 0);
        });
        limits.bf16_flops_per_second = kFlops / seconds;
        limits.gemm_by = fmt::format("cublas {}.{}", cublas.version / 10000, cublas.version / 100 % 100);
        return;
    }
    const std::array<std::int32_t, 2> all{0, kSize};
    const gpu::DeviceArray<std::int32_t> begin{2};
    gpu::upload(std::as_bytes(std::span{all}), begin.data(), stream);
    const gpu::GroupedGemmRow& row = gpu::grouped_gemm_named("auto", Arithmetic::bf16, kSize, kSize, 90);
    const gpu::DeviceBytes workspace{std::max<std::int64_t>(row.workspace_bytes(1, 1), 16)};
    const std::array products{gpu::GroupedProduct{b.data(), c.data()}};
    const double seconds = median_seconds(stream, [&] {
        row.run({.x = {a.data(), kSize, kSize, Arithmetic::bf16},
                 .num_experts = 1,
                 .out = kSize,
                 .begin = begin.data(),
                 .products = products},
                workspace.data(), stream);
    });
    limits.bf16_flops_per_second = kFlops / seconds;
    limits.gemm_by = "shardproof " + std::string{row.name};
}

}  // namespace

DeviceLimits measure_limits(gpu::StreamView stream) {
    DeviceLimits limits;
    limits.copy_bytes_per_second = copy_rate(stream);
    measure_gemm(stream, limits);
    // The smallest copy kernel there is: eight bytes.
    const gpu::DeviceBytes few{64};
    constexpr int kLaunches = 100;
    limits.launch_seconds =
        median_seconds(stream,
                       [&] {
                           for (int i = 0; i < kLaunches; ++i)
                               gpu::convert(few.data(), DType::BF16, few.data() + 32, Arithmetic::bf16, 4, stream);
                       }) /
        kLaunches;
    return limits;
}

}  // namespace shardproof::bench
