// A running error analysis: every matrix of the dense forward with a bound on how far a backend's may lie from it.
//
// A bound covers any order of any sum, split over ranks or not, with f32 accumulation (Higham, Accuracy and Stability
// of Numerical Algorithms, 3.1), and errors of the operands carried through the operation's derivative or an enclosure
// of it. With bf16 arithmetic each tensor that an operation stores is rounded to bf16 once more, partial sums that
// travel between ranks included. The double in which all this is computed is taken as exact: it is 2^29 times finer.
#pragma once
#include <span>

#include "oracle/attention.hpp"
#include "oracle/eigen.hpp"
#include "oracle/model/result.hpp"
#include "oracle/model/tensor.hpp"

namespace shardproof::oracle {

struct Bounded {
    Matrix value;
    Matrix error;  // >= 0; |backend - value| <= error, element by element
};
[[nodiscard]] Bounded exact(Matrix value);

// f32 below this may be flushed to zero: the absolute error of one operation whose result is that small.
inline constexpr double kTiny = 0x1p-126;

// Adds an error relative to the value, and underflow; what is exactly zero stays so.
void add_relative(Bounded& x, double relative);

class Roundoff {
public:
    explicit Roundoff(Arithmetic arithmetic) : store_{arithmetic == Arithmetic::bf16 ? 0x1p-8 : 0.0} {}
    // Of one f32 operation: half a unit in the last of 24 places.
    [[nodiscard]] static constexpr double unit() { return 0x1p-24; }
    // Of n f32 operations in a row, or of a sum of n products in any order.
    [[nodiscard]] static constexpr double gamma(Index n) {
        const double nu = static_cast<double>(n) * unit();
        return nu / (1.0 - nu);
    }
    // Of storing a tensor: half a unit in the last of bf16's 8 places, or 0 for f32, whose operations round already.
    [[nodiscard]] double store() const { return store_; }
    // Of a weight: a bf16 backend may hold it rounded to bf16.
    [[nodiscard]] double weight(DType dtype) const { return dtype == DType::BF16 ? 0.0 : store_; }
    // Adds the rounding of a stored tensor.
    void round_stored(Bounded& x) const;

private:
    double store_;
};

// What more a backend may do in a linear layer.
struct LinearNotes {
    Index extra_terms = 0;  // added to the reduction: what is summed on before ranks exchange partial sums
    int partial_roundings = 0;  // stores of a partial sum before it is complete (bf16)
};
// x Wᵀ for weight rows [begin, end): [n,in] -> [n, end-begin].
[[nodiscard]] Bounded linear(const Bounded& x, const TensorView& weight, Index begin, Index end,
                             const Roundoff& roundoff, LinearNotes notes = {});
[[nodiscard]] Bounded linear(const Bounded& x, const TensorView& weight, const Roundoff& roundoff,
                             LinearNotes notes = {});
// As oracle::rms_norm.
[[nodiscard]] Bounded rms_norm(const Bounded& x, const TensorView& weight, double eps, const Roundoff& roundoff);
// As oracle::l2_norm.
[[nodiscard]] Bounded l2_norm(const Bounded& x, std::int64_t width, double eps, const Roundoff& roundoff);
// Each row times its factor, which a backend computes in f32.
[[nodiscard]] Bounded scale_rows(Bounded x, std::span<const double> factors, const Roundoff& roundoff);
// As oracle::rotate; a backend holds cos and sin in f32.
[[nodiscard]] Bounded rotate(const Bounded& heads, std::span<const std::int64_t> position, const RopeTable& rope,
                             const Roundoff& roundoff);
// As oracle::causal_attention.
[[nodiscard]] Bounded causal_attention(const Heads& heads, const TokenLayout& tokens, const Bounded& q,
                                       const Bounded& k, const Bounded& v, const Roundoff& roundoff,
                                       std::int64_t chunk = kWholeSequence);
// silu(gate) * up.
[[nodiscard]] Bounded silu_times(const Bounded& gate, const Bounded& up, const Roundoff& roundoff);
[[nodiscard]] Bounded add(Bounded x, const Bounded& y, const Roundoff& roundoff);
// x + y, x exact: a residual connection.
[[nodiscard]] Bounded add(const Matrix& x, Bounded y, const Roundoff& roundoff);

}  // namespace shardproof::oracle
