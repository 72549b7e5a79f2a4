// Narrow: dtypes that values may have passed through, and what became of them there.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "oracle/model/tensor.hpp"
#include "sim/verify/values.hpp"

namespace shardproof::verify {

// A binary format of sign, exponent and fraction. Sources: IEEE 754; the OCP specifications of 8-bit formats and
// microscaling; for FNUZ https://arxiv.org/abs/2206.02915.
struct Narrow {
    DType dtype;
    int fraction_bits;
    int exponent_min;  // of normal values, without bias
    double largest;
};
// Those that lose something of `from`'s values, the likelier first.
[[nodiscard]] std::vector<Narrow> narrower_than(DType from);

// To nearest, ties to even. nullopt: beyond the largest, where programs saturate, or write an infinity or NaN.
[[nodiscard]] std::optional<Value> rounded(const Narrow& narrow, Value value);
// Whether `found` is what became of `value`: rounded, or one of the three beyond the largest.
[[nodiscard]] bool is_rounded(const Narrow& narrow, Value value, Value found);

// What a code of F8_E4M3, F8_E5M2 and their FNUZ kin means; other dtypes are an SP_ASSERT.
[[nodiscard]] float f8_value(DType dtype, std::uint8_t code);

}  // namespace shardproof::verify
