// For tests that need a GPU: skipping without one, device memory between guard bands, comparisons that NaN fails.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include "gpu/buffer.hpp"
#include "gpu/kernels/matrix.hpp"
#include "gpu/machine.hpp"
#include "oracle/model/tensor.hpp"

namespace shardproof::gpu {

inline bool no_gpu() { return find_machine().devices.empty(); }

// Poisoned (0xFF) all over when made, and read back only with intact bands before and behind.
template <class T>
class Guarded {
public:
    // data() is `shift` elements behind a 256-byte boundary.
    Guarded(std::int64_t count, StreamView stream, std::int64_t shift = 0)
        : stream_{stream},
          first_{kBand + shift * static_cast<std::int64_t>(sizeof(T))},
          count_{count},
          bytes_{first_ + count * static_cast<std::int64_t>(sizeof(T)) + kBand} {
        bytes_.poison(stream);
    }
    Guarded(std::span<const T> values, StreamView stream, std::int64_t shift = 0)
        : Guarded{static_cast<std::int64_t>(values.size()), stream, shift} {
        write(values);
    }
    [[nodiscard]] T* data() const { return reinterpret_cast<T*>(bytes_.data() + first_); }
    void write(std::span<const T> values) {
        ASSERT_LE(std::ssize(values), count_);
        upload(std::as_bytes(values), static_cast<void*>(data()), stream_);  // T may be a pointer
        check(cudaStreamSynchronize(stream_.raw()));
    }
    // Waits for the stream.
    [[nodiscard]] std::vector<T> read() const {
        std::vector<std::byte> all(static_cast<std::size_t>(bytes_.size()));
        download(bytes_.data(), all, stream_);
        check(cudaStreamSynchronize(stream_.raw()));
        std::vector<T> values(static_cast<std::size_t>(count_));
        const std::size_t bytes = values.size() * sizeof(T);
        if (bytes > 0) std::memcpy(values.data(), all.data() + first_, bytes);
        std::fill_n(all.begin() + first_, bytes, std::byte{0xFF});
        const auto touched = std::find_if(all.begin(), all.end(), [](std::byte b) { return b != std::byte{0xFF}; });
        EXPECT_TRUE(touched == all.end())
            << "written outside: byte " << touched - all.begin() - first_ << " of " << bytes;
        return values;
    }

private:
    static constexpr std::int64_t kBand = 256;
    StreamView stream_;
    std::int64_t first_;
    std::int64_t count_;
    DeviceBytes bytes_;
};

// The bytes of values that the arithmetic's element holds exactly, and back.
inline std::vector<std::byte> stored(const std::vector<float>& values, Arithmetic arithmetic) {
    const auto size = static_cast<std::size_t>(element_bytes(arithmetic));
    std::vector<std::byte> bytes(values.size() * size);
    for (std::size_t i = 0; i < values.size(); ++i) {
        const auto bits = std::bit_cast<std::uint32_t>(values[i]) >> (32 - 8 * size);
        std::memcpy(bytes.data() + i * size, &bits, size);
    }
    return bytes;
}
inline std::vector<float> widened(std::span<const std::byte> bytes, Arithmetic arithmetic) {
    std::vector<float> values(bytes.size() / static_cast<std::size_t>(element_bytes(arithmetic)));
    widen_to_f32(arithmetic == Arithmetic::f32 ? DType::F32 : DType::BF16, bytes, values);
    return values;
}
inline float settled(float value, Arithmetic arithmetic) {
    return arithmetic == Arithmetic::f32 ? value : round_to_bf16(value);
}

class GuardedMatrix {
public:
    GuardedMatrix(std::int64_t rows, std::int64_t cols, Arithmetic arithmetic, StreamView stream)
        : rows_{rows}, cols_{cols}, arithmetic_{arithmetic}, bytes_{rows * cols * element_bytes(arithmetic), stream} {}
    GuardedMatrix(std::int64_t rows, std::int64_t cols, Arithmetic arithmetic, const std::vector<float>& values,
                  StreamView stream)
        : GuardedMatrix{rows, cols, arithmetic, stream} {
        bytes_.write(stored(values, arithmetic));
    }
    [[nodiscard]] Matrix view() const { return {bytes_.data(), rows_, cols_, arithmetic_}; }
    void write(std::span<const std::byte> bytes) { bytes_.write(bytes); }
    [[nodiscard]] std::vector<std::byte> read_bytes() const { return bytes_.read(); }
    [[nodiscard]] std::vector<float> read() const { return widened(bytes_.read(), arithmetic_); }

private:
    std::int64_t rows_;
    std::int64_t cols_;
    Arithmetic arithmetic_;
    Guarded<std::byte> bytes_;
};

// Uniform in [-range, range], settled; and whole numbers of it.
inline std::vector<float> random_reals(std::int64_t count, float range, Arithmetic arithmetic, std::mt19937_64& prng) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) {
        const double unit = static_cast<double>(prng() >> 11) * 0x1p-53;
        value = settled(range * static_cast<float>(2 * unit - 1), arithmetic);
    }
    return values;
}
inline std::vector<float> random_whole(std::int64_t count, int range, std::mt19937_64& prng) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) {
        value = static_cast<float>(static_cast<int>(prng() % static_cast<unsigned>(2 * range + 1)) - range);
    }
    return values;
}
inline std::vector<std::byte> random_bytes(std::int64_t count, std::mt19937_64& prng) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(count));
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(prng() >> 56);
    return bytes;
}

// Half the distance between neighbours, relative to the value.
constexpr double kUnitF32 = 0x1p-24;
constexpr double unit_of(Arithmetic arithmetic) { return arithmetic == Arithmetic::f32 ? kUnitF32 : 0x1p-8; }

// The first element out of bounds, if any; NaN is.
inline void expect_within(const std::vector<float>& got, const std::vector<double>& want,
                          const std::vector<double>& bound) {
    ASSERT_EQ(got.size(), want.size());
    ASSERT_EQ(bound.size(), want.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
        const double distance = std::abs(static_cast<double>(got[i]) - want[i]);
        ASSERT_TRUE(distance <= bound[i])
            << "element " << i << ": " << got[i] << " instead of " << want[i] << " +- " << bound[i];
    }
}
// The first element with other bits, if any; two NaNs are alike.
inline void expect_same(const std::vector<float>& got, const std::vector<float>& want) {
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
        const bool same = std::bit_cast<std::uint32_t>(got[i]) == std::bit_cast<std::uint32_t>(want[i]);
        ASSERT_TRUE(same || (std::isnan(got[i]) && std::isnan(want[i])))
            << "element " << i << ": " << got[i] << " instead of " << want[i];
    }
}
template <class T>
void expect_equal(const std::vector<T>& got, const std::vector<T>& want) {
    ASSERT_EQ(got.size(), want.size());
    const auto [at, wanted] = std::mismatch(got.begin(), got.end(), want.begin());
    ASSERT_TRUE(at == got.end()) << "element " << at - got.begin() << ": " << testing::PrintToString(*at)
                                 << " instead of " << testing::PrintToString(*wanted);
}

}  // namespace shardproof::gpu

// A macro because it returns from the test.
#define SHARDPROOF_NEEDS_GPU()                                                        \
    do {                                                                              \
        if (::shardproof::gpu::no_gpu()) {                                            \
            GTEST_SKIP() << "no GPU: " << ::shardproof::gpu::find_machine().why_none; \
        }                                                                             \
    } while (false)
