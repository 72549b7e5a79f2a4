// Row-major device matrices, borrowed, in the arithmetic's element: float, or bf16 stored as 2 bytes.
#pragma once
#include <cstdint>

#include "oracle/model/result.hpp"

namespace shardproof::gpu {

// [rows, cols], contiguous: row r begins at element r * cols. data is aligned to 16 bytes; cols may be any number, so
// rows need not be.
struct Matrix {
    void* data = nullptr;
    std::int64_t rows = 0;
    std::int64_t cols = 0;
    Arithmetic arithmetic = Arithmetic::f32;
};
struct ConstMatrix {
    const void* data = nullptr;
    std::int64_t rows = 0;
    std::int64_t cols = 0;
    Arithmetic arithmetic = Arithmetic::f32;
    ConstMatrix() = default;
    ConstMatrix(const void* d, std::int64_t r, std::int64_t c, Arithmetic a)
        : data{d}, rows{r}, cols{c}, arithmetic{a} {}
    ConstMatrix(const Matrix& m) : data{m.data}, rows{m.rows}, cols{m.cols}, arithmetic{m.arithmetic} {}
};
[[nodiscard]] constexpr std::int64_t element_bytes(Arithmetic arithmetic) {
    return arithmetic == Arithmetic::f32 ? 4 : 2;
}

}  // namespace shardproof::gpu
