#include "gpu/kernels/elementwise.cuh"

#include <numeric>

#include "gpu/gpu_test_support.hpp"

namespace shardproof::gpu {
namespace {

constexpr Arithmetic kBoth[] = {Arithmetic::f32, Arithmetic::bf16};
constexpr std::int64_t kWidths[] = {1, 5, 8, 20, 257, 2048};

std::vector<float> converted(std::span<const std::byte> from, DType dtype, Arithmetic arithmetic, std::int64_t shift) {
    const Stream stream;
    const auto width = static_cast<std::int64_t>(bits_of(dtype)) / 8;
    const std::int64_t count = std::ssize(from) / width;
    const Guarded<std::byte> source{from, stream.view(), shift * width};
    const GuardedMatrix to{1, count, arithmetic, stream.view()};
    convert(source.data(), dtype, to.view().data, arithmetic, count, stream.view());
    return to.read();
}

void expect_converts(std::span<const std::byte> from, DType dtype, std::int64_t shift) {
    std::vector<float> values(from.size() * 8 / static_cast<std::size_t>(bits_of(dtype)));
    widen_to_f32(dtype, from, values);
    for (const Arithmetic arithmetic : kBoth) {
        std::vector<float> want = values;
        for (float& value : want) value = settled(value, arithmetic);
        expect_same(converted(from, dtype, arithmetic, shift), want);
    }
}

TEST(Elementwise, ConvertsEveryTwoByteValueToTheNearest) {
    SHARDPROOF_NEEDS_GPU();
    std::vector<std::uint16_t> all(65536);
    std::iota(all.begin(), all.end(), std::uint16_t{0});
    expect_converts(std::as_bytes(std::span{all}), DType::F16, 0);
    expect_converts(std::as_bytes(std::span{all}), DType::BF16, 0);
}

TEST(Elementwise, ConvertsOddCountsAndSourcesOfAnyAlignment) {
    SHARDPROOF_NEEDS_GPU();
    std::mt19937_64 prng{1};
    for (const std::int64_t count : {0, 1, 7, 8, 9, 4099, 1'000'003}) {
        const std::vector<std::byte> bytes = random_bytes(4 * count, prng);
        const std::span<const std::byte> all{bytes};
        for (const std::int64_t shift : {0, 1, 3}) {
            SCOPED_TRACE(testing::Message() << count << " elements, shifted by " << shift);
            expect_converts(all, DType::F32, shift);
            expect_converts(all.first(all.size() / 2), DType::BF16, shift);
            expect_converts(all.first(all.size() / 2), DType::F16, shift);
        }
    }
}

TEST(Elementwise, RefusesToConvertIntegers) {
    SHARDPROOF_NEEDS_GPU();
    const Stream stream;
    EXPECT_THROW(convert(nullptr, DType::I32, nullptr, Arithmetic::f32, 0, stream.view()), BugError);
}

// The mean of D squares is off by at most D + 2 roundings, its root by half of that.
void expect_normed(const std::vector<float>& x, const std::vector<float>& weight, double eps,
                   const std::vector<float>& got, Arithmetic arithmetic) {
    const std::size_t cols = weight.size();
    std::vector<double> want(x.size());
    std::vector<double> bound(x.size());
    for (std::size_t i = 0; i < x.size(); i += cols) {
        double sum = 0;
        for (std::size_t c = 0; c < cols; ++c) sum += static_cast<double>(x[i + c]) * x[i + c];
        const double scale = 1 / std::sqrt(sum / static_cast<double>(cols) + eps);
        for (std::size_t c = 0; c < cols; ++c) {
            want[i + c] = x[i + c] * scale * weight[c];
            const double relative = (static_cast<double>(cols) / 2 + 8) * kUnitF32;
            bound[i + c] = std::abs(want[i + c]) * (relative + (1 + relative) * unit_of(arithmetic));
        }
    }
    expect_within(got, want, bound);
}

TEST(Elementwise, NormsEachRowByItself) {
    SHARDPROOF_NEEDS_GPU();
    const Stream stream;
    std::mt19937_64 prng{2};
    for (const Arithmetic arithmetic : kBoth) {
        for (const std::int64_t cols : {1, 5, 8, 96, 257, 2048, 2056, 9000, 9001, 20000}) {
            for (const std::int64_t rows : {0, 1, 131}) {
                SCOPED_TRACE(testing::Message() << rows << " x " << cols << " of " << element_bytes(arithmetic));
                std::vector<float> x = random_reals(rows * cols, 3, arithmetic, prng);
                for (std::int64_t c = 0; c < cols && rows > 2; ++c) x[static_cast<std::size_t>(cols + c)] *= 0x1p20F;
                const std::vector<float> weight = random_reals(cols, 2, arithmetic, prng);
                const GuardedMatrix source{rows, cols, arithmetic, x, stream.view()};
                const GuardedMatrix factor{1, cols, arithmetic, weight, stream.view()};
                const GuardedMatrix y{rows, cols, arithmetic, stream.view()};
                rms_norm(source.view(), factor.view().data, 1e-6, y.view(), stream.view());
                expect_normed(x, weight, 1e-6, y.read(), arithmetic);
                rms_norm(source.view(), factor.view().data, 1e-6, source.view(), stream.view());
                expect_equal(source.read_bytes(), y.read_bytes());
            }
        }
    }
}

TEST(Elementwise, NormOfARowOfZerosIsZero) {
    SHARDPROOF_NEEDS_GPU();
    const Stream stream;
    const GuardedMatrix x{1, 40, Arithmetic::bf16, std::vector<float>(40, 0.0F), stream.view()};
    const GuardedMatrix weight{1, 40, Arithmetic::bf16, std::vector<float>(40, 1.0F), stream.view()};
    rms_norm(x.view(), weight.view().data, 1e-6, x.view(), stream.view());
    expect_equal(x.read(), std::vector<float>(40, 0.0F));
}

// Six roundings of f32: exp, sum, quotient (or reciprocal and product), product. Where exp overflows silu is below
// 2^-121, and zero will do.
void expect_swiglu(const std::vector<float>& gate, const std::vector<float>& up, std::span<const float> got,
                   Arithmetic arithmetic) {
    std::vector<double> want(got.size());
    std::vector<double> bound(got.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
        want[i] = gate[i] / (1 + std::exp(-static_cast<double>(gate[i]))) * up[i];
        bound[i] = std::abs(want[i]) * (8 * kUnitF32 + (1 + 8 * kUnitF32) * unit_of(arithmetic)) +
                   0x1p-121 * std::abs(up[i]) + 0x1p-126;
    }
    expect_within({got.begin(), got.end()}, want, bound);
}

TEST(Elementwise, SwigluLeavesRowsBeyondTheDevicesCountAlone) {
    SHARDPROOF_NEEDS_GPU();
    const Stream stream;
    std::mt19937_64 prng{3};
    for (const Arithmetic arithmetic : kBoth) {
        for (const std::int64_t cols : kWidths) {
            for (const std::int32_t rows : {0, 1, 13, 40}) {
                SCOPED_TRACE(testing::Message() << rows << " x " << cols << " of " << element_bytes(arithmetic));
                const std::int64_t capacity = 40;
                const std::vector<float> gate = random_reals(capacity * cols, 120, arithmetic, prng);
                const std::vector<float> up = random_reals(capacity * cols, 3, arithmetic, prng);
                const GuardedMatrix inout{capacity, cols, arithmetic, gate, stream.view()};
                const GuardedMatrix factor{capacity, cols, arithmetic, up, stream.view()};
                const Guarded<std::int32_t> count{std::span{&rows, 1}, stream.view()};
                swiglu(inout.view(), factor.view(), count.data(), stream.view());
                const std::vector<float> got = inout.read();
                const auto done = static_cast<std::size_t>(rows * cols);
                expect_swiglu(gate, up, std::span{got}.first(done), arithmetic);
                const auto rest = static_cast<std::ptrdiff_t>(done);
                expect_same({got.begin() + rest, got.end()}, {gate.begin() + rest, gate.end()});
            }
        }
    }
}

TEST(Elementwise, SwigluOfManyRowsMissesNone) {
    SHARDPROOF_NEEDS_GPU();
    const Stream stream;
    std::mt19937_64 prng{4};
    const std::int32_t rows = 20011;
    const std::vector<float> gate = random_reals(rows * 768, 8, Arithmetic::bf16, prng);
    const std::vector<float> up = random_reals(rows * 768, 3, Arithmetic::bf16, prng);
    const GuardedMatrix inout{rows, 768, Arithmetic::bf16, gate, stream.view()};
    const GuardedMatrix factor{rows, 768, Arithmetic::bf16, up, stream.view()};
    const Guarded<std::int32_t> count{std::span{&rows, 1}, stream.view()};
    swiglu(inout.view(), factor.view(), count.data(), stream.view());
    expect_swiglu(gate, up, inout.read(), Arithmetic::bf16);
}

TEST(Elementwise, AddsToTheLastBitAndInPlace) {
    SHARDPROOF_NEEDS_GPU();
    const Stream stream;
    std::mt19937_64 prng{5};
    for (const Arithmetic arithmetic : kBoth) {
        for (const std::int64_t cols : kWidths) {
            for (const std::int64_t rows : {0, 1, 33, 3001}) {
                SCOPED_TRACE(testing::Message() << rows << " x " << cols << " of " << element_bytes(arithmetic));
                const std::vector<float> a = random_reals(rows * cols, 100, arithmetic, prng);
                const std::vector<float> b = random_reals(rows * cols, 1, arithmetic, prng);
                std::vector<float> want = a;
                for (std::size_t i = 0; i < a.size(); ++i) want[i] = settled(a[i] + b[i], arithmetic);
                const GuardedMatrix left{rows, cols, arithmetic, a, stream.view()};
                const GuardedMatrix right{rows, cols, arithmetic, b, stream.view()};
                const GuardedMatrix out{rows, cols, arithmetic, stream.view()};
                add(left.view(), right.view(), out.view(), stream.view());
                expect_same(out.read(), want);
                add(left.view(), right.view(), right.view(), stream.view());
                expect_same(right.read(), want);
            }
        }
    }
}

// Part p lies p elements behind a boundary, so that some are aligned to 16 bytes and some are not.
template <class T>
std::vector<T> summed(const std::vector<std::vector<T>>& parts, DType dtype, bool into_the_second) {
    const Stream stream;
    std::vector<Guarded<T>> held;
    std::vector<const void*> addresses;
    for (const std::vector<T>& part : parts) {
        held.emplace_back(std::span<const T>{part}, stream.view(), std::ssize(held));
        addresses.push_back(held.back().data());
    }
    const Guarded<const void*> table{addresses, stream.view()};
    const std::int64_t count = std::ssize(parts.front());
    const Guarded<T> apart{count, stream.view()};
    const Guarded<T>& out = into_the_second ? held.at(1) : apart;
    sum_parts(table.data(), static_cast<int>(parts.size()), dtype, out.data(), count, stream.view());
    return out.read();
}

TEST(Elementwise, SumsPartsInOrderAndIntoOneOfThem) {
    SHARDPROOF_NEEDS_GPU();
    std::mt19937_64 prng{6};
    for (const std::int64_t count : {0, 1, 3, 8, 4099, 300'000}) {
        for (const std::size_t num_parts : {std::size_t{2}, std::size_t{3}, std::size_t{9}}) {
            std::vector<std::vector<float>> f32(num_parts);
            std::vector<std::vector<std::uint16_t>> bf16(num_parts);
            std::vector<std::vector<std::int64_t>> i64(num_parts);
            std::vector<float> sum_f32(static_cast<std::size_t>(count));
            std::vector<float> sum_bf16(sum_f32.size());
            std::vector<std::int64_t> sum_i64(sum_f32.size());
            for (std::size_t p = 0; p < num_parts; ++p) {
                f32[p] = random_reals(count, 1, Arithmetic::f32, prng);
                for (std::size_t i = 0; i < sum_f32.size(); ++i) {
                    const float narrow = round_to_bf16(f32[p][i]);
                    bf16[p].push_back(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(narrow) >> 16));
                    i64[p].push_back(static_cast<std::int64_t>(prng() >> 8));
                    sum_f32[i] += f32[p][i];
                    sum_bf16[i] += narrow;
                    sum_i64[i] += i64[p][i];
                }
            }
            std::vector<std::uint16_t> narrow_sum;
            for (const float sum : sum_bf16) {
                narrow_sum.push_back(
                    static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(round_to_bf16(sum)) >> 16));
            }
            for (const bool into_the_second : {false, true}) {
                expect_equal(summed(f32, DType::F32, into_the_second), sum_f32);
                expect_equal(summed(bf16, DType::BF16, into_the_second), narrow_sum);
                expect_equal(summed(i64, DType::I64, into_the_second), sum_i64);
            }
        }
    }
}

}  // namespace
}  // namespace shardproof::gpu
