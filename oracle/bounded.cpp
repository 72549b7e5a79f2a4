#include "oracle/bounded.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "oracle/experts.hpp"
#include "oracle/linear.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::oracle {
namespace {

// The relative error of several independent ones together.
double together(std::initializer_list<double> relatives) {
    double product = 1.0;
    for (const double relative : relatives) product *= 1.0 + relative;
    return product - 1.0;
}

}  // namespace

Bounded exact(Matrix value) {
    Matrix none = Matrix::Zero(value.rows(), value.cols());
    return {std::move(value), std::move(none)};
}

void add_relative(Bounded& x, double relative) {
    double* error = x.error.data();
    const double* value = x.value.data();
    for (Index i = 0; i < x.value.size(); ++i) {
        const double magnitude = std::abs(value[i]) + error[i];
        error[i] += relative * magnitude + (magnitude > 0.0 ? kTiny : 0.0);
    }
}

void Roundoff::round_stored(Bounded& x) const {
    if (store_ > 0.0) add_relative(x, store_);
}

Bounded linear(const Bounded& x, const TensorView& weight, Index begin, Index end, const Roundoff& roundoff,
               LinearNotes notes) {
    SP_ASSERT(x.value.cols() == weight.shape[1]);
    const Index terms = x.value.cols() + notes.extra_terms + 1;
    double relative = together({Roundoff::gamma(terms), roundoff.weight(weight.dtype)});
    for (int i = 0; i < notes.partial_roundings; ++i) relative = together({relative, roundoff.store()});

    Matrix rows = widen_rows(weight, begin, end);
    Bounded y;
    y.value = times_transposed(x.value, rows);
    rows = rows.cwiseAbs();
    const Matrix carried = relative * x.value.cwiseAbs() + (1.0 + relative) * x.error;
    y.error = times_transposed(carried, rows);
    const double underflow = static_cast<double>(terms) * kTiny;
    y.error = y.error.unaryExpr([&](double error) { return error > 0.0 ? error + underflow : error; });
    roundoff.round_stored(y);
    return y;
}

Bounded linear(const Bounded& x, const TensorView& weight, const Roundoff& roundoff, LinearNotes notes) {
    const Index out = weight.shape[0];
    const Index step = rows_per_block(weight);
    if (out <= step) return linear(x, weight, 0, out, roundoff, notes);
    Bounded y{Matrix(x.value.rows(), out), Matrix(x.value.rows(), out)};
    for (Index begin = 0; begin < out; begin += step) {
        const Index end = std::min(out, begin + step);
        const Bounded block = linear(x, weight, begin, end, roundoff, notes);
        y.value.middleCols(begin, end - begin) = block.value;
        y.error.middleCols(begin, end - begin) = block.error;
    }
    return y;
}

namespace {

// `weight_relative`: of a weight as a backend holds it.
Bounded rms_norm(const Bounded& x, std::span<const double> scale, double weight_relative, double eps,
                 const Roundoff& roundoff) {
    const auto width = static_cast<Index>(scale.size());
    const auto n = static_cast<double>(width);
    Bounded y{Matrix(x.value.rows(), x.value.cols()), Matrix(x.value.rows(), x.value.cols())};
    for (Index start = 0; start < x.value.size(); start += width) {
        const double* value = x.value.data() + start;
        const double* error = x.error.data() + start;
        double squares = 0.0;
        double spread = 0.0;
        for (Index i = 0; i < width; ++i) {
            squares += value[i] * value[i];
            spread += error[i] * (2.0 * std::abs(value[i]) + error[i]);
        }
        // The mean square is off by `off`, so 1/sqrt of it lies between `low` and `high`; never above 1/sqrt(eps).
        const double mean = squares / n + eps;
        const double off = spread / n + Roundoff::gamma(width + 5) * (mean + spread / n) + kTiny;
        const double root = 1.0 / std::sqrt(mean);
        const double low = 1.0 / std::sqrt(mean + off);
        const double ceiling = 1.0 / std::sqrt(eps * (1.0 - 4.0 * Roundoff::unit()));
        const double high = off < mean ? std::min(ceiling, 1.0 / std::sqrt(mean - off)) : ceiling;
        const double root_off = std::max(high - root, root - low);
        for (Index i = 0; i < width; ++i) {
            const double w = std::abs(scale[static_cast<std::size_t>(i)]);
            y.value.data()[start + i] = value[i] * root * scale[static_cast<std::size_t>(i)];
            y.error.data()[start + i] = w * (error[i] * std::max(high, root) + std::abs(value[i]) * root_off);
        }
    }
    // 1/sqrt (an approximate instruction, perhaps), two products, a weight, and the normed row stored before its
    // weight.
    add_relative(y, together({Roundoff::gamma(6), weight_relative, roundoff.store()}));
    roundoff.round_stored(y);
    return y;
}

}  // namespace

Bounded rms_norm(const Bounded& x, const TensorView& weight, double eps, const Roundoff& roundoff) {
    return rms_norm(x, widen(weight), roundoff.weight(weight.dtype), eps, roundoff);
}

Bounded l2_norm(const Bounded& x, std::int64_t width, double eps, const Roundoff& roundoff) {
    return rms_norm(x, std::vector<double>(static_cast<std::size_t>(width), 1.0), 0.0, eps, roundoff);
}

Bounded scale_rows(Bounded x, std::span<const double> factors, const Roundoff& roundoff) {
    for (Index row = 0; row < x.value.rows(); ++row) {
        const double factor = factors[static_cast<std::size_t>(row)];
        x.value.row(row) *= factor;
        x.error.row(row) *= std::abs(factor);
    }
    // The factor in f32 by a logarithm to 4 units, a product and a sum, and then the product.
    add_relative(x, Roundoff::gamma(8));
    roundoff.round_stored(x);
    return x;
}

Bounded rotate(const Bounded& heads, std::span<const std::int64_t> position, const RopeTable& rope,
               const Roundoff& roundoff) {
    const double table = Roundoff::gamma(rope.attention_factor == 1.0 ? 1 : 3);
    const double products = Roundoff::gamma(2);
    const Index half = rope.half;
    Bounded y{rotate(heads.value, position, rope), Matrix(heads.value.rows(), heads.value.cols())};
    for (Index row = 0; row < heads.value.rows(); ++row) {
        const std::int64_t at = position[static_cast<std::size_t>(row)];
        const double angle = static_cast<double>(at) * 0x1p-45;  // the angle itself, computed in double another way
        for (Index d = 0; d < half; ++d) {
            const double cos = std::abs(rope.cos[static_cast<std::size_t>(at * half + d)]);
            const double sin = std::abs(rope.sin[static_cast<std::size_t>(at * half + d)]);
            const double cos_off = table * cos + angle;
            const double sin_off = table * sin + angle;
            for (Index head = 0; head < heads.value.cols(); head += 2 * half) {
                const Index first = head + rope.first(d);
                const Index second = head + rope.second(d);
                const double a = std::abs(heads.value(row, first));
                const double b = std::abs(heads.value(row, second));
                const double a_off = heads.error(row, first);
                const double b_off = heads.error(row, second);
                const auto off = [&](double p, double p_off, double q, double q_off) {
                    const double carried =
                        p_off * (cos + cos_off) + p * cos_off + q_off * (sin + sin_off) + q * sin_off;
                    return carried + products * (p * cos + q * sin + carried);
                };
                y.error(row, first) = off(a, a_off, b, b_off);
                y.error(row, second) = off(b, b_off, a, a_off);
            }
        }
    }
    add_relative(y, 0.0);
    roundoff.round_stored(y);
    return y;
}

Bounded silu_times(const Bounded& gate, const Bounded& up, const Roundoff& roundoff) {
    // exp, 1 + exp, the division, and a bf16 backend may store silu(gate) before the product.
    const double silu_relative = together({Roundoff::gamma(8), roundoff.store()});
    Bounded y{Matrix(gate.value.rows(), gate.value.cols()), Matrix(gate.value.rows(), gate.value.cols())};
    for (Index i = 0; i < gate.value.size(); ++i) {
        const double g = gate.value.data()[i];
        const double g_off = gate.error.data()[i];
        const double s = sigmoid(g);
        const double silu = g * s;
        // |silu'| <= 1.1 and |silu''| <= 1/2 everywhere.
        const double slope = std::min(1.1, std::abs(s * (1.0 + g * (1.0 - s))) + 0.5 * g_off);
        const double carried = slope * g_off;
        const double silu_off = carried + silu_relative * (std::abs(silu) + carried);
        const double u = std::abs(up.value.data()[i]);
        const double u_off = up.error.data()[i];
        y.value.data()[i] = silu * up.value.data()[i];
        y.error.data()[i] = silu_off * (u + u_off) + std::abs(silu) * u_off;
    }
    add_relative(y, Roundoff::unit());
    roundoff.round_stored(y);
    return y;
}

Bounded add(Bounded x, const Bounded& y, const Roundoff& roundoff) {
    x.value += y.value;
    x.error += y.error;
    add_relative(x, Roundoff::unit());
    roundoff.round_stored(x);
    return x;
}

Bounded add(const Matrix& x, Bounded y, const Roundoff& roundoff) {
    const double relative = together({Roundoff::unit(), roundoff.store()});
    for (Index i = 0; i < y.value.size(); ++i) {
        double& value = y.value.data()[i];
        double& error = y.error.data()[i];
        if (value == 0.0 && error == 0.0) {
            value = x.data()[i];  // x + 0 is x, in any arithmetic
            continue;
        }
        value += x.data()[i];
        error += relative * (std::abs(value) + error) + kTiny;
    }
    return y;
}

}  // namespace shardproof::oracle
