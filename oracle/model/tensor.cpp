#include "oracle/model/tensor.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "oracle/model/error.hpp"

namespace shardproof {
namespace {

static_assert(std::endian::native == std::endian::little, "tensor bytes are read as the machine's own");

struct DTypeRow {
    DType dtype;
    std::string_view name;
    int bits;
};
constexpr std::array kDTypes{
    DTypeRow{DType::BOOL, "BOOL", 8},
    DTypeRow{DType::F4, "F4", 4},
    DTypeRow{DType::F6_E2M3, "F6_E2M3", 6},
    DTypeRow{DType::F6_E3M2, "F6_E3M2", 6},
    DTypeRow{DType::U8, "U8", 8},
    DTypeRow{DType::I8, "I8", 8},
    DTypeRow{DType::F8_E5M2, "F8_E5M2", 8},
    DTypeRow{DType::F8_E4M3, "F8_E4M3", 8},
    DTypeRow{DType::F8_E8M0, "F8_E8M0", 8},
    DTypeRow{DType::F8_E4M3FNUZ, "F8_E4M3FNUZ", 8},
    DTypeRow{DType::F8_E5M2FNUZ, "F8_E5M2FNUZ", 8},
    DTypeRow{DType::I16, "I16", 16},
    DTypeRow{DType::U16, "U16", 16},
    DTypeRow{DType::F16, "F16", 16},
    DTypeRow{DType::BF16, "BF16", 16},
    DTypeRow{DType::I32, "I32", 32},
    DTypeRow{DType::U32, "U32", 32},
    DTypeRow{DType::F32, "F32", 32},
    DTypeRow{DType::C64, "C64", 64},
    DTypeRow{DType::F64, "F64", 64},
    DTypeRow{DType::I64, "I64", 64},
    DTypeRow{DType::U64, "U64", 64},
};
constexpr bool rows_are_indexed_by_dtype() {
    for (std::size_t i = 0; i < kDTypes.size(); ++i) {
        if (static_cast<std::size_t>(kDTypes[i].dtype) != i) return false;
    }
    return true;
}
static_assert(rows_are_indexed_by_dtype());

const DTypeRow& row_of(DType dtype) {
    const auto idx = static_cast<std::size_t>(dtype);
    SP_ASSERT(idx < kDTypes.size());
    return kDTypes[idx];
}

// Unaligned: a tensor may begin at any byte of its file.
template <class T>
T element(const std::byte* bytes, std::size_t idx) {
    T value;
    std::memcpy(&value, bytes + idx * sizeof(T), sizeof(T));
    return value;
}

float bf16_to_f32(std::uint16_t half) { return std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16); }

// Masks instead of conditions, so that a loop over it becomes vector code: the compiler will not take a floating-point
// subtraction out of a branch.
float f16_to_f32(std::uint16_t half) {
    constexpr std::uint32_t kExponent = 0x1FU << 23;  // the f16 exponent field, moved to f32's place
    constexpr std::uint32_t kRebias = 112U << 23;     // 127 - 15
    constexpr float kSmallestNormal = 0x1p-14F;
    const std::uint32_t sign = (half & 0x8000U) << 16;
    const std::uint32_t magnitude = (half & 0x7FFFU) << 13;
    const std::uint32_t exponent = magnitude & kExponent;
    const std::uint32_t is_subnormal = 0U - static_cast<std::uint32_t>(exponent == 0);
    const std::uint32_t is_special = 0U - static_cast<std::uint32_t>(exponent == kExponent);  // infinite or NaN
    const std::uint32_t normal = magnitude + kRebias + (kRebias & is_special);
    // A subnormal m * 2^-24 is (2^-14 + m * 2^-24) - 2^-14, which f32 computes exactly.
    const auto shifted = std::bit_cast<float>(magnitude + std::bit_cast<std::uint32_t>(kSmallestNormal));
    const auto subnormal = std::bit_cast<std::uint32_t>(shifted - kSmallestNormal);
    return std::bit_cast<float>((subnormal & is_subnormal) | (normal & ~is_subnormal) | sign);
}

template <class T, class Widen>
void widen_each(std::span<const std::byte> bytes, std::span<float> out, Widen widen) {
    SP_ASSERT(bytes.size() == out.size() * sizeof(T));
    const std::byte* const source = bytes.data();
    float* const target = out.data();
    const std::size_t count = out.size();
    for (std::size_t i = 0; i < count; ++i) target[i] = widen(element<T>(source, i));
}

}  // namespace

int bits_of(DType dtype) { return row_of(dtype).bits; }

std::string_view name_of(DType dtype) { return row_of(dtype).name; }

std::optional<DType> dtype_named(std::string_view spelling) {
    for (const DTypeRow& row : kDTypes) {
        if (row.name == spelling) return row.dtype;
    }
    return std::nullopt;
}

std::int64_t num_elements(const Shape& shape) {
    // A zero dim first: beside it the others may be too large to multiply.
    for (const std::int64_t dim : shape) {
        SP_ASSERT(dim >= 0);
        if (dim == 0) return 0;
    }
    std::int64_t count = 1;
    for (const std::int64_t dim : shape) {
        SP_ASSERT(count <= std::numeric_limits<std::int64_t>::max() / dim);
        count *= dim;
    }
    return count;
}

std::string to_string(const Shape& shape) {
    std::string text = "[";
    for (const std::int64_t dim : shape) {
        if (text.size() > 1) text += ',';
        text += std::to_string(dim);
    }
    text += ']';
    return text;
}

double element_as_double(const TensorView& tensor, std::int64_t flat_index) {
    const auto idx = static_cast<std::size_t>(flat_index);
    SP_ASSERT(idx < tensor.bytes.size() * 8 / static_cast<std::size_t>(bits_of(tensor.dtype)));
    const std::byte* const bytes = tensor.bytes.data();
    switch (tensor.dtype) {
        case DType::BF16:
            return static_cast<double>(bf16_to_f32(element<std::uint16_t>(bytes, idx)));
        case DType::F16:
            return static_cast<double>(f16_to_f32(element<std::uint16_t>(bytes, idx)));
        case DType::F32:
            return static_cast<double>(element<float>(bytes, idx));
        case DType::F64:
            return element<double>(bytes, idx);
        default:
            break;
    }
    SP_ASSERT(!"a dtype that does not widen to double");
    return 0.0;
}

void widen_to_f32(DType dtype, std::span<const std::byte> bytes, std::span<float> out) {
    switch (dtype) {
        case DType::BF16:
            return widen_each<std::uint16_t>(bytes, out, bf16_to_f32);
        case DType::F16:
            return widen_each<std::uint16_t>(bytes, out, f16_to_f32);
        case DType::F64:
            return widen_each<double>(bytes, out, [](double value) { return static_cast<float>(value); });
        case DType::F32:
            SP_ASSERT(bytes.size() == out.size_bytes());
            if (!bytes.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
            return;
        default:
            break;
    }
    SP_ASSERT(!"a dtype that does not widen to f32");
}

float round_to_f16(float value) {
    constexpr std::uint32_t kSign = 0x8000'0000U;
    constexpr std::uint32_t kQuiet = 0x0040'0000U;
    constexpr std::uint32_t kDropped = 0x1FFFU;  // f32 has 13 fraction bits more
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if (std::isnan(value)) return std::bit_cast<float>((bits | kQuiet) & ~kDropped);
    const auto magnitude = std::bit_cast<float>(bits & ~kSign);
    float rounded = 0.0F;
    if (magnitude >= 65520.0F) {  // halfway to the power of two that f16 lacks
        rounded = std::numeric_limits<float>::infinity();
    } else if (magnitude < 0x1p-14F) {
        rounded = (magnitude + 0.5F) - 0.5F;  // f32 is spaced 2^-24 there, as f16's subnormals are
    } else {
        const auto normal = std::bit_cast<std::uint32_t>(magnitude);
        rounded = std::bit_cast<float>((normal + (kDropped >> 1) + (normal >> 13 & 1U)) & ~kDropped);
    }
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(rounded) | (bits & kSign));
}

}  // namespace shardproof
