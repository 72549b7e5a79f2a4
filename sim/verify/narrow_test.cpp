// Values through narrower dtypes, by cases worked by hand from the formats' definitions.
#include "sim/verify/narrow.hpp"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <limits>

namespace shardproof::verify {
namespace {

Narrow narrow_of(DType dtype) {
    for (const Narrow& narrow : narrower_than(DType::F32)) {
        if (narrow.dtype == dtype) return narrow;
    }
    ADD_FAILURE() << "no such dtype";
    return {};
}
std::optional<float> through(DType dtype, float value) {
    const auto near = rounded(narrow_of(dtype), std::bit_cast<Value>(value));
    return near ? std::optional{std::bit_cast<float>(*near)} : std::nullopt;
}

TEST(Narrow, RoundsToNearestAndTiesToEven) {
    EXPECT_EQ(through(DType::F8_E4M3, 1.0625F), 1.0F);
    EXPECT_EQ(through(DType::F8_E4M3, 1.1875F), 1.25F);
    EXPECT_EQ(through(DType::F8_E4M3, -1.07F), -1.125F);
    EXPECT_EQ(through(DType::F8_E5M2, 1.125F), 1.0F);
    EXPECT_EQ(through(DType::F4, 2.5F), 2.0F);
    EXPECT_EQ(through(DType::BF16, 1.0F + 0x1p-8F), 1.0F);
    EXPECT_EQ(through(DType::F16, 0x1p-25F), 0.0F);  // half of the smallest
    EXPECT_EQ(through(DType::F8_E4M3, 0x1.8p-10F), 0x1p-9F);
}

TEST(Narrow, BeyondTheLargestProgramsDiffer) {
    EXPECT_EQ(through(DType::F8_E4M3, 448.0F), 448.0F);
    EXPECT_EQ(through(DType::F8_E4M3, 480.0F), std::nullopt);
    const Narrow narrow = narrow_of(DType::F8_E4M3);
    const auto bits = [](float value) { return std::bit_cast<Value>(value); };
    EXPECT_TRUE(is_rounded(narrow, bits(1000.0F), bits(448.0F)));
    EXPECT_TRUE(is_rounded(narrow, bits(1000.0F), bits(std::numeric_limits<float>::infinity())));
    EXPECT_TRUE(is_rounded(narrow, bits(1000.0F), kNan));
    EXPECT_FALSE(is_rounded(narrow, bits(1000.0F), bits(1000.0F)));
    EXPECT_FALSE(is_rounded(narrow, bits(1.0625F), bits(1.125F)));
}

TEST(Narrow, CodesMeanWhatTheirFormatsSay) {
    EXPECT_EQ(f8_value(DType::F8_E4M3, 0x7E), 448.0F);
    EXPECT_EQ(f8_value(DType::F8_E4M3, 0x01), 0x1p-9F);
    EXPECT_TRUE(std::isnan(f8_value(DType::F8_E4M3, 0xFF)));
    EXPECT_EQ(f8_value(DType::F8_E5M2, 0x7B), 57344.0F);
    EXPECT_TRUE(std::isinf(f8_value(DType::F8_E5M2, 0xFC)));
    EXPECT_EQ(f8_value(DType::F8_E4M3FNUZ, 0x7F), 240.0F);
    EXPECT_TRUE(std::isnan(f8_value(DType::F8_E4M3FNUZ, 0x80)));
    EXPECT_EQ(f8_value(DType::F8_E5M2FNUZ, 0x01), 0x1p-17F);
}

TEST(Values, AreEqualAcrossDtypesWhereTheNumbersAre) {
    std::array<Value, 1> wide{};
    std::array<Value, 1> narrow{};
    const std::array<std::uint16_t, 1> bf16{0x3FC0};
    const std::array<double, 1> f64{1.5};
    read_values(DType::BF16, std::as_bytes(std::span{bf16}), narrow);
    read_values(DType::F64, std::as_bytes(std::span{f64}), wide);
    EXPECT_EQ(narrow, wide);
    const std::array<double, 1> finer{1.5 + 0x1p-40};
    read_values(DType::F64, std::as_bytes(std::span{finer}), wide);
    EXPECT_EQ(wide[0], kNoF32);
    const std::array<std::uint32_t, 1> other_nan{0xFFC0'0001U};
    read_values(DType::F32, std::as_bytes(std::span{other_nan}), wide);
    EXPECT_EQ(wide[0], kNan);
}

}  // namespace
}  // namespace shardproof::verify
