// Values for checkpoints that nobody trained: a function of seed, tensor name and coordinate, the same on every
// machine. No two rows, of one tensor or of two, have the same values but by chance, so a part found anywhere tells
// whose it is.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "oracle/model/family.hpp"

namespace shardproof {

struct SyntheticTensor {
    std::string name;  // as published
    Shape shape;
    // Values are uniform in middle +- half_width. Norms lie around 1; a linear layer keeps the size of its input.
    float middle = 0.0F;
    float half_width = 1.0F;  // a power of two
};

// Every tensor that the parameters read, once, in model order; those of one routed expert together.
[[nodiscard]] std::vector<SyntheticTensor> synthetic_tensors(std::span<const Parameter> parameters);

// Elements from `first` on, row-major, until `out` is full. BF16, F16 or F32, rounded to nearest even.
void fill_synthetic(const SyntheticTensor& tensor, DType dtype, std::uint64_t seed, std::int64_t first,
                    std::span<std::byte> out);

}  // namespace shardproof
