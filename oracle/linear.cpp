#include "oracle/linear.hpp"

#include <algorithm>

#include "oracle/model/error.hpp"

namespace shardproof::oracle {
namespace {

constexpr Index kBlockElements = 1 << 18;
constexpr Index kSmallProduct = 1 << 13;

void widen_range(const TensorView& tensor, Index begin, std::span<double> out) {
    if (tensor.dtype == DType::F64) {
        for (std::size_t i = 0; i < out.size(); ++i) out[i] = element_as_double(tensor, begin + static_cast<Index>(i));
        return;
    }
    // f32 holds BF16, F16 and F32 exactly, and double holds f32.
    const auto element_bytes = static_cast<std::size_t>(bits_of(tensor.dtype) / 8);
    std::vector<float> narrow(out.size());
    widen_to_f32(tensor.dtype,
                 tensor.bytes.subspan(static_cast<std::size_t>(begin) * element_bytes, out.size() * element_bytes),
                 narrow);
    std::copy(narrow.begin(), narrow.end(), out.begin());
}

}  // namespace

Matrix widen_rows(const TensorView& tensor, Index begin, Index end) {
    SP_ASSERT(tensor.shape.size() == 2 && 0 <= begin && begin <= end && end <= tensor.shape[0]);
    Matrix rows(end - begin, tensor.shape[1]);
    widen_range(tensor, begin * tensor.shape[1], {rows.data(), static_cast<std::size_t>(rows.size())});
    return rows;
}

std::vector<double> widen(const TensorView& tensor) {
    std::vector<double> values(static_cast<std::size_t>(num_elements(tensor.shape)));
    widen_range(tensor, 0, values);
    return values;
}

Index rows_per_block(const TensorView& tensor) {
    return std::max<Index>(1, kBlockElements / std::max<Index>(1, tensor.shape[1]));
}

Matrix times_transposed(const Matrix& a, const Matrix& b) {
    Matrix product(a.rows(), b.rows());
    // Packing for the blocked product costs more than so small a product itself.
    if (a.size() * b.rows() < kSmallProduct) {
        product = a.lazyProduct(b.transpose());
    } else {
        product.noalias() = a * b.transpose();
    }
    return product;
}

Matrix linear(const Matrix& x, const TensorView& weight) {
    SP_ASSERT(x.cols() == weight.shape[1]);
    const Index out = weight.shape[0];
    const Index step = rows_per_block(weight);
    if (out <= step) return times_transposed(x, widen_rows(weight, 0, out));
    Matrix y(x.rows(), out);
    for (Index begin = 0; begin < out; begin += step) {
        const Index end = std::min(out, begin + step);
        y.middleCols(begin, end - begin) = times_transposed(x, widen_rows(weight, begin, end));
    }
    return y;
}

}  // namespace shardproof::oracle
