#include "sim/verify/narrow.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "oracle/model/error.hpp"

namespace shardproof::verify {
namespace {

constexpr std::array kNarrow{
    Narrow{DType::BF16, 7, -126, 0x1.FEp127},
    Narrow{DType::F16, 10, -14, 65504},
    Narrow{DType::F8_E4M3, 3, -6, 448},
    Narrow{DType::F8_E5M2, 2, -14, 57344},
    Narrow{DType::F8_E4M3FNUZ, 3, -7, 240},
    Narrow{DType::F8_E5M2FNUZ, 2, -15, 57344},
    Narrow{DType::F6_E2M3, 3, 0, 7.5},
    Narrow{DType::F6_E3M2, 2, -2, 28},
    Narrow{DType::F4, 1, 0, 6},
};

double widened(Value value) { return static_cast<double>(std::bit_cast<float>(value)); }

}  // namespace

std::vector<Narrow> narrower_than(DType from) {
    std::vector<Narrow> list;
    std::ranges::copy_if(kNarrow, std::back_inserter(list), [&](const Narrow& n) { return n.dtype != from; });
    return list;
}

std::optional<Value> rounded(const Narrow& narrow, Value value) {
    const double exact = widened(value);
    if (value == kNan || exact == 0.0) return value;
    if (std::isinf(exact)) return std::nullopt;
    const int exponent = std::max(std::ilogb(exact), narrow.exponent_min);
    const double step = std::ldexp(1.0, exponent - narrow.fraction_bits);
    const double near = std::nearbyint(exact / step) * step;
    if (std::abs(near) > narrow.largest) return std::nullopt;
    return std::bit_cast<Value>(static_cast<float>(near));
}

bool is_rounded(const Narrow& narrow, Value value, Value found) {
    const std::optional<Value> near = rounded(narrow, value);
    if (near) return *near == found || (is_zero(*near) && is_zero(found));
    const double got = widened(found);
    return found == kNan || std::isinf(got) || std::abs(got) == narrow.largest;
}

float f8_value(DType dtype, std::uint8_t code) {
    const bool is_e4 = dtype == DType::F8_E4M3 || dtype == DType::F8_E4M3FNUZ;
    const bool is_fnuz = dtype == DType::F8_E4M3FNUZ || dtype == DType::F8_E5M2FNUZ;
    SP_ASSERT(is_e4 || dtype == DType::F8_E5M2 || is_fnuz);
    const int fraction_bits = is_e4 ? 3 : 2;
    const int exponent_bits = 7 - fraction_bits;
    const int bias = (1 << (exponent_bits - 1)) - (is_fnuz ? 0 : 1);
    const int magnitude = code & 0x7F;
    const int field = magnitude >> fraction_bits;
    const int fraction = magnitude & ((1 << fraction_bits) - 1);
    const float sign = (code & 0x80) != 0 ? -1.0F : 1.0F;
    constexpr float kNone = std::numeric_limits<float>::quiet_NaN();
    if (is_fnuz && code == 0x80) return kNone;
    if (dtype == DType::F8_E4M3 && magnitude == 0x7F) return kNone;
    if (dtype == DType::F8_E5M2 && field == 0x1F) {
        return fraction == 0 ? sign * std::numeric_limits<float>::infinity() : kNone;
    }
    const int whole = field == 0 ? fraction : fraction + (1 << fraction_bits);
    return sign * std::ldexp(static_cast<float>(whole), std::max(field, 1) - bias - fraction_bits);
}

}  // namespace shardproof::verify
