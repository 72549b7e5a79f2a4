// Value: an element of any dtype as 32 bits that are equal where the values are, so that dumps in another dtype can be
// compared and looked up.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "oracle/model/tensor.hpp"

namespace shardproof::verify {

using Value = std::uint32_t;  // the bits of an f32; all NaN are kNan
inline constexpr Value kNan = 0x7FC0'0000U;
inline constexpr Value kNoF32 = 0x7FA0'0001U;  // what f32 cannot hold exactly, and so no checkpoint does

[[nodiscard]] bool is_readable(DType dtype);  // whole bytes and real numbers
// out.size() elements of `bytes`, which need not be aligned. SP_ASSERT is_readable(dtype).
void read_values(DType dtype, std::span<const std::byte> bytes, std::span<Value> out);

[[nodiscard]] bool is_zero(Value value);
// A line of one value alone, and so one that says nothing of where it came from.
[[nodiscard]] bool is_constant(std::span<const Value> line);
[[nodiscard]] std::uint64_t hash_of(std::span<const Value> line);

}  // namespace shardproof::verify
