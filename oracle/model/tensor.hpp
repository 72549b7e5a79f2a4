// Dtypes, shapes and dense row-major tensors in host memory: borrowed (TensorView) or owned (Tensor).
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace shardproof {

// The dtypes of the safetensors format, in its writer's order (files list tensors by descending dtype, then name).
// clang-format off
enum class DType : std::uint8_t {
    BOOL, F4, F6_E2M3, F6_E3M2, U8, I8, F8_E5M2, F8_E4M3, F8_E8M0, F8_E4M3FNUZ, F8_E5M2FNUZ,
    I16, U16, F16, BF16, I32, U32, F32, C64, F64, I64, U64,
};
// clang-format on
[[nodiscard]] int bits_of(DType dtype);
[[nodiscard]] std::string_view name_of(DType dtype);                         // the format's spelling: "BF16"
[[nodiscard]] std::optional<DType> dtype_named(std::string_view spelling);   // exact spelling only

using Shape = std::vector<std::int64_t>;
[[nodiscard]] std::int64_t num_elements(const Shape& shape);  // 1 for a scalar
[[nodiscard]] std::string to_string(const Shape& shape);      // "[4,64]"

// A tensor in somebody else's memory. bytes.size() == num_elements * bits / 8; bytes need not be aligned.
struct TensorView {
    DType dtype{};
    Shape shape;
    std::span<const std::byte> bytes;
};

// Owned storage, row-major, little-endian.
struct Tensor {
    DType dtype{};
    Shape shape;
    std::vector<std::byte> bytes;
    [[nodiscard]] TensorView view() const { return {dtype, shape, bytes}; }
};

// One element widened exactly. Floating dtypes BF16, F16, F32, F64; others are an SP_ASSERT.
[[nodiscard]] double element_as_double(const TensorView& tensor, std::int64_t flat_index);
// All elements widened: to f32 exactly for BF16, F16, F32; F64 is rounded to nearest.
void widen_to_f32(DType dtype, std::span<const std::byte> bytes, std::span<float> out);
// To the nearest value of the narrower dtype, between two to the even one; NaN stays NaN.
[[nodiscard]] float round_to_f16(float value);
// Inline, so that loops over it become vector code.
[[nodiscard]] inline float round_to_bf16(float value) {
    constexpr std::uint32_t kQuiet = 0x0040'0000U;
    const auto bits = std::bit_cast<std::uint32_t>(value);
    // A NaN whose payload lies in the dropped half would become infinite.
    const std::uint32_t rounded = value != value ? bits | kQuiet : bits + 0x7FFFU + (bits >> 16 & 1U);
    return std::bit_cast<float>(rounded & 0xFFFF'0000U);
}

}  // namespace shardproof
