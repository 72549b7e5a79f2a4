#include "oracle/model/tensor.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>

#include "oracle/model/error.hpp"

namespace shardproof {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::uint32_t bits(float value) { return std::bit_cast<std::uint32_t>(value); }
float from_bits(std::uint32_t value) { return std::bit_cast<float>(value); }

// The textbook reading of a 16-bit float: sign, exponent, fraction.
double by_definition(std::uint16_t half, int exponent_bits) {
    const int fraction_bits = 15 - exponent_bits;
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const int exponent = half >> fraction_bits & ((1 << exponent_bits) - 1);
    const int fraction = half & ((1 << fraction_bits) - 1);
    const double sign = (half & 0x8000) != 0 ? -1.0 : 1.0;
    if (exponent == (1 << exponent_bits) - 1) return fraction != 0 ? std::nan("") : sign * HUGE_VAL;
    const int significand = exponent == 0 ? fraction : fraction | 1 << fraction_bits;
    return sign * std::ldexp(significand, (exponent == 0 ? 1 : exponent) - bias - fraction_bits);
}

// All 65536 values, one byte off any alignment.
std::vector<std::byte> every_half() {
    std::vector<std::byte> bytes(1 + 2 * 65536);
    for (std::uint32_t i = 0; i < 65536; ++i) {
        const auto half = static_cast<std::uint16_t>(i);
        std::memcpy(bytes.data() + 1 + std::size_t{2} * i, &half, 2);
    }
    return bytes;
}

class HalfTest : public testing::TestWithParam<std::pair<DType, int>> {};

TEST_P(HalfTest, EveryValueWidensExactlyFromAnyAddress) {
    const auto [dtype, exponent_bits] = GetParam();
    const std::vector<std::byte> storage = every_half();
    const TensorView tensor{dtype, {65536}, std::span(storage).subspan(1)};
    std::vector<float> wide(65536);
    widen_to_f32(dtype, tensor.bytes, wide);
    for (std::int64_t i = 0; i < 65536; ++i) {
        const double want = by_definition(static_cast<std::uint16_t>(i), exponent_bits);
        const double got = element_as_double(tensor, i);
        const auto got_f32 = static_cast<double>(wide[static_cast<std::size_t>(i)]);
        ASSERT_EQ(std::isnan(got), std::isnan(want)) << i;
        ASSERT_EQ(std::isnan(got_f32), std::isnan(want)) << i;
        ASSERT_EQ(std::signbit(got), (i & 0x8000) != 0) << i;
        if (std::isnan(want)) continue;
        ASSERT_EQ(got, want) << i;
        ASSERT_EQ(got_f32, want) << i;
    }
}

TEST_P(HalfTest, RoundingIsToNearestAndToEvenBetweenTwo) {
    const auto [dtype, exponent_bits] = GetParam();
    const auto round = dtype == DType::BF16 ? round_to_bf16 : round_to_f16;
    const int infinite = ((1 << exponent_bits) - 1) << (15 - exponent_bits);
    for (int i = 0; i < infinite; ++i) {
        const double low_exact = by_definition(static_cast<std::uint16_t>(i), exponent_bits);
        const double high_exact = by_definition(static_cast<std::uint16_t>(i + 1), exponent_bits);
        // Past the largest value the spacing goes on as if there were a next one.
        const double next = std::isinf(high_exact)
                                ? 2 * low_exact - by_definition(static_cast<std::uint16_t>(i - 1), exponent_bits)
                                : high_exact;
        const auto low = static_cast<float>(low_exact);
        const auto high = static_cast<float>(high_exact);
        const auto middle = static_cast<float>((low_exact + next) / 2);
        ASSERT_EQ(bits(round(low)), bits(low)) << i;
        ASSERT_EQ(bits(round(-low)), bits(-low)) << i;
        ASSERT_EQ(round(middle), i % 2 == 0 ? low : high) << i;
        ASSERT_EQ(round(-middle), i % 2 == 0 ? -low : -high) << i;
        ASSERT_EQ(round(std::nextafter(middle, 0.0F)), low) << i;
        ASSERT_EQ(round(std::nextafter(middle, kInfinity)), high) << i;
    }
}

TEST_P(HalfTest, RoundingKeepsInfinityAndNan) {
    const auto round = GetParam().first == DType::BF16 ? round_to_bf16 : round_to_f16;
    EXPECT_EQ(round(kInfinity), kInfinity);
    EXPECT_EQ(round(-kInfinity), -kInfinity);
    EXPECT_EQ(round(std::numeric_limits<float>::max()), kInfinity);
    // Payloads in the bits that rounding drops, and one that a carry would turn into a zero.
    for (const std::uint32_t nan : {0x7F80'0001U, 0xFF80'0001U, 0x7FFF'FFFFU, 0xFFFF'FFFFU, 0x7FC0'0000U}) {
        EXPECT_TRUE(std::isnan(round(from_bits(nan)))) << nan;
    }
}

INSTANTIATE_TEST_SUITE_P(All, HalfTest, testing::Values(std::pair{DType::BF16, 8}, std::pair{DType::F16, 5}),
                         [](const auto& test) { return std::string(name_of(test.param.first)); });

TEST(Widen, ReadsF32AndF64FromAnyAddress) {
    const std::array<float, 3> narrow{1.5F, -0.0F, from_bits(0x7FC0'1234U)};
    const std::array<double, 3> wide{1.0 + 0x1p-24, -0x1p-1074, 1e300};  // rounded to nearest even
    std::array<std::byte, 1 + sizeof wide> storage{};
    std::array<float, 3> out{};

    std::memcpy(storage.data() + 1, narrow.data(), sizeof narrow);
    widen_to_f32(DType::F32, std::span(storage).subspan(1, sizeof narrow), out);
    // NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): bit for bit, NaN and -0 too
    EXPECT_EQ(0, std::memcmp(out.data(), narrow.data(), sizeof narrow));
    EXPECT_EQ(element_as_double({DType::F32, {3}, std::span(storage).subspan(1, sizeof narrow)}, 0), 1.5);

    std::memcpy(storage.data() + 1, wide.data(), sizeof wide);
    widen_to_f32(DType::F64, std::span(storage).subspan(1), out);
    EXPECT_EQ(out[0], 1.0F);
    EXPECT_EQ(bits(out[1]), bits(-0.0F));
    EXPECT_EQ(out[2], kInfinity);
    EXPECT_EQ(element_as_double({DType::F64, {3}, std::span(storage).subspan(1)}, 1), -0x1p-1074);
}

TEST(Widen, RefusesOtherSizesAndDtypes) {
    std::vector<std::byte> bytes(8);
    std::vector<float> out(3);
    EXPECT_THROW(widen_to_f32(DType::BF16, bytes, out), BugError);
    EXPECT_THROW(widen_to_f32(DType::I16, std::span(bytes).first(6), out), BugError);
    EXPECT_THROW((void)element_as_double({DType::I64, {1}, bytes}, 0), BugError);
    EXPECT_THROW((void)element_as_double({DType::F32, {2}, bytes}, 2), BugError);
    EXPECT_THROW((void)element_as_double({DType::F32, {2}, bytes}, -1), BugError);
}

TEST(DTypeName, IsTheFormatsSpellingAndNoOther) {
    for (int i = 0; i <= static_cast<int>(DType::U64); ++i) {
        const auto dtype = static_cast<DType>(i);
        EXPECT_EQ(dtype_named(name_of(dtype)), dtype);
    }
    EXPECT_EQ(name_of(DType::F8_E4M3FNUZ), "F8_E4M3FNUZ");
    for (const char* other : {"", "f32", "F32 ", "BF", "F8_E4M3FN", "F4_E2M1", "I4", "C128"}) {
        EXPECT_EQ(dtype_named(other), std::nullopt) << other;
    }
    EXPECT_EQ(bits_of(DType::F4), 4);
    EXPECT_EQ(bits_of(DType::F6_E3M2), 6);
    EXPECT_EQ(bits_of(DType::BOOL), 8);
    EXPECT_EQ(bits_of(DType::BF16), 16);
    EXPECT_EQ(bits_of(DType::C64), 64);
}

TEST(ShapeProduct, IsOneForAScalarAndZeroBesideAnyDim) {
    constexpr std::int64_t kHuge = std::int64_t{1} << 62;
    EXPECT_EQ(num_elements({}), 1);
    EXPECT_EQ(num_elements({2, 3, 5}), 30);
    EXPECT_EQ(num_elements({kHuge, kHuge, 0}), 0);
    EXPECT_THAT([&] { (void)num_elements({kHuge, 2}); }, ThrowsMessage<BugError>(HasSubstr("does not hold")));
    EXPECT_THROW((void)num_elements({-1}), BugError);
    EXPECT_EQ(to_string(Shape{}), "[]");
    EXPECT_EQ(to_string({4, 64}), "[4,64]");
}

}  // namespace
}  // namespace shardproof
