#include "sim/verify/values.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "oracle/model/error.hpp"
#include "sim/verify/narrow.hpp"

namespace shardproof::verify {
namespace {

constexpr std::uint32_t kMagnitude = 0x7FFF'FFFFU;
constexpr std::uint32_t kInfinity = 0x7F80'0000U;

Value with_one_nan(std::uint32_t bits) { return (bits & kMagnitude) > kInfinity ? kNan : bits; }

template <class T>
T element(const std::byte* bytes, std::size_t idx) {
    T value;
    std::memcpy(&value, bytes + idx * sizeof(T), sizeof(T));
    return value;
}

void read_bf16(const std::byte* bytes, std::span<Value> out) {
    for (std::size_t i = 0; i < out.size(); ++i)
        out[i] = with_one_nan(static_cast<std::uint32_t>(element<std::uint16_t>(bytes, i)) << 16);
}

void read_f32(const std::byte* bytes, std::span<Value> out) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = with_one_nan(element<std::uint32_t>(bytes, i));
}

void read_f16(const std::byte* bytes, std::span<Value> out) {
    constexpr std::size_t kBlock = 1024;
    std::array<float, kBlock> wide;
    for (std::size_t begin = 0; begin < out.size(); begin += kBlock) {
        const std::size_t count = std::min(kBlock, out.size() - begin);
        widen_to_f32(DType::F16, {bytes + begin * 2, count * 2}, std::span{wide}.first(count));
        for (std::size_t i = 0; i < count; ++i) out[begin + i] = with_one_nan(std::bit_cast<std::uint32_t>(wide[i]));
    }
}

// Numbers that f32 may not hold.
template <class T>
void read_wide(const std::byte* bytes, std::span<Value> out) {
    for (std::size_t i = 0; i < out.size(); ++i) {
        const auto value = static_cast<double>(element<T>(bytes, i));
        if (std::isnan(value)) {
            out[i] = kNan;
            continue;
        }
        const bool in_range = std::isinf(value) || std::abs(value) < 0x1p128;
        const float narrow = in_range ? static_cast<float>(value) : 0.0F;
        out[i] = in_range && static_cast<double>(narrow) == value ? std::bit_cast<std::uint32_t>(narrow) : kNoF32;
    }
}

void read_f8(DType dtype, const std::byte* bytes, std::span<Value> out) {
    std::array<Value, 256> table;
    for (std::size_t code = 0; code < table.size(); ++code)
        table[code] = with_one_nan(std::bit_cast<std::uint32_t>(f8_value(dtype, static_cast<std::uint8_t>(code))));
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = table[std::to_integer<std::size_t>(bytes[i])];
}

}  // namespace

bool is_readable(DType dtype) {
    switch (dtype) {
        case DType::F4:
        case DType::F6_E2M3:
        case DType::F6_E3M2:
        case DType::F8_E8M0:
        case DType::C64:
            return false;
        default:
            return true;
    }
}

void read_values(DType dtype, std::span<const std::byte> bytes, std::span<Value> out) {
    SP_ASSERT(is_readable(dtype) && bytes.size() == out.size() * static_cast<std::size_t>(bits_of(dtype) / 8));
    switch (dtype) {
        case DType::BF16:
            return read_bf16(bytes.data(), out);
        case DType::F16:
            return read_f16(bytes.data(), out);
        case DType::F32:
            return read_f32(bytes.data(), out);
        case DType::F64:
            return read_wide<double>(bytes.data(), out);
        case DType::BOOL:
        case DType::U8:
            return read_wide<std::uint8_t>(bytes.data(), out);
        case DType::I8:
            return read_wide<std::int8_t>(bytes.data(), out);
        case DType::I16:
            return read_wide<std::int16_t>(bytes.data(), out);
        case DType::U16:
            return read_wide<std::uint16_t>(bytes.data(), out);
        case DType::I32:
            return read_wide<std::int32_t>(bytes.data(), out);
        case DType::U32:
            return read_wide<std::uint32_t>(bytes.data(), out);
        case DType::I64:
            return read_wide<std::int64_t>(bytes.data(), out);
        case DType::U64:
            return read_wide<std::uint64_t>(bytes.data(), out);
        default:
            return read_f8(dtype, bytes.data(), out);
    }
}

bool is_zero(Value value) { return (value & kMagnitude) == 0; }

bool is_constant(std::span<const Value> line) {
    return !line.empty() && std::ranges::all_of(line, [&](Value value) { return value == line.front(); });
}

std::uint64_t hash_of(std::span<const Value> line) {
    // Four chains side by side: one alone waits for its own multiplications.
    constexpr std::uint64_t kFactor = 0x9FB2'1C65'1E98'DF25U;
    std::array<std::uint64_t, 4> chains{1, 2, 3, line.size()};
    std::size_t i = 0;
    for (; i + 4 <= line.size(); i += 4) {
        for (std::size_t c = 0; c < 4; ++c) {
            chains[c] = (chains[c] ^ line[i + c]) * kFactor;
            chains[c] ^= chains[c] >> 32U;
        }
    }
    for (; i < line.size(); ++i) {
        chains[0] = (chains[0] ^ line[i]) * kFactor;
        chains[0] ^= chains[0] >> 32U;
    }
    std::uint64_t hash = 0;
    for (const std::uint64_t chain : chains) {
        hash = (hash ^ chain) * kFactor;
        hash ^= hash >> 29U;
    }
    return hash;
}

}  // namespace shardproof::verify
