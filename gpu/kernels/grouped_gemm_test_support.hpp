// For tests of grouped GEMMs: shapes, one problem on the device, and what its result must be.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "gpu/buffer.hpp"
#include "gpu/gpu_test_support.hpp"
#include "gpu/kernels/grouped_gemm.hpp"

namespace shardproof::gpu::grouped_gemm_test {

struct Shape3 {
    std::string name;
    std::int64_t in = 0;
    std::int64_t out = 0;
    std::vector<int> rows;        // of each expert
    std::int64_t rows_beyond = 0; // capacity that no expert has
    [[nodiscard]] std::int64_t num_rows() const { return std::accumulate(rows.begin(), rows.end(), std::int64_t{0}); }
    [[nodiscard]] std::int64_t capacity() const { return num_rows() + rows_beyond; }
    [[nodiscard]] auto num_experts() const { return static_cast<std::int64_t>(rows.size()); }
};

inline std::vector<int> ragged(int experts, int rows_max) {
    std::mt19937 random{7};
    std::vector<int> rows;
    for (int e = 0; e < experts; ++e) rows.push_back(e % 5 == 0 ? 0 : static_cast<int>(random() % (rows_max + 1U)));
    return rows;
}

inline std::vector<Shape3> shapes() {
    return {{"no rows at all", 64, 64, {0, 0, 0, 0}, 8},
            {"one row", 64, 64, {0, 1, 0}, 0},
            {"one row of width one", 1, 1, {1}, 1},
            {"nothing to sum", 0, 5, {3, 0, 2}, 1},
            {"odd widths", 7, 5, {3, 0, 70}, 2},
            {"odd in, even out", 131, 66, {2, 65}, 0},
            {"even in, odd out", 66, 131, {65, 2}, 0},
            {"narrower than any tile", 8, 8, {1, 2, 3}, 3},
            {"no multiples of tiles", 72, 136, {1, 65, 0, 129, 64}, 5},
            {"one expert has all", 128, 264, {0, 0, 0, 300, 0, 0, 0, 0}, 0},
            {"first expert has all", 128, 264, {300, 0, 0}, 100},
            {"last expert has all", 128, 264, {0, 0, 300}, 1},
            {"more experts than lanes", 128, 96, ragged(100, 40), 17},
            {"most experts empty", 64, 64,
             [] {
                 std::vector<int> rows(300, 0);
                 rows[31] = 5;
                 rows[32] = 70;
                 rows[299] = 1;
                 return rows;
             }(),
             4000},
            {"short sums over many rows", 768, 520, {300, 0, 612}, 3},
            {"long sums over many rows", 4096, 520, {1500, 200}, 10},
            {"large", 1024, 768, ragged(16, 700), 1000}};
}

// Values on the host are floats; on the device they are in the arithmetic's element.
inline std::vector<std::byte> packed(const std::vector<float>& values, Arithmetic arithmetic) {
    std::vector<std::byte> bytes(values.size() * static_cast<std::size_t>(element_bytes(arithmetic)));
    if (arithmetic == Arithmetic::f32) {
        std::memcpy(bytes.data(), values.data(), bytes.size());
        return bytes;
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
        const auto bits = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(values[i]) >> 16);
        std::memcpy(bytes.data() + 2 * i, &bits, 2);
    }
    return bytes;
}
inline std::vector<float> unpacked(const std::vector<std::byte>& bytes, Arithmetic arithmetic) {
    std::vector<float> values(bytes.size() / static_cast<std::size_t>(element_bytes(arithmetic)));
    widen_to_f32(arithmetic == Arithmetic::f32 ? DType::F32 : DType::BF16, bytes, values);
    return values;
}

enum class Payload { integers, reals };
inline std::vector<float> payload(std::int64_t count, Payload kind, int integer_max, Arithmetic arithmetic,
                                  unsigned seed) {
    std::mt19937 random{seed};
    std::uniform_int_distribution<int> integers{-integer_max, integer_max};
    std::normal_distribution<float> reals;
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) {
        value = kind == Payload::integers ? static_cast<float>(integers(random)) : reals(random);
        if (arithmetic == Arithmetic::bf16) value = round_to_bf16(value);
    }
    return values;
}

// One problem on the device. Everything around and in y is NaN, and so are the rows of x that no expert has.
class OnDevice {
public:
    OnDevice(const Shape3& shape, Arithmetic arithmetic, int num_products, Payload kind, StreamView stream)
        : shape_{shape}, arithmetic_{arithmetic}, stream_{stream} {
        // Any order of any partial sums stays below 2^24; in f32 with more bits than tf32 keeps.
        const auto x_max = arithmetic == Arithmetic::bf16
                               ? 8
                               : static_cast<int>(std::clamp<std::int64_t>((1 << 21) / (shape.in + 1) - 1, 8, 4097));
        x = payload(shape.capacity() * shape.in, kind, x_max, arithmetic, 1);
        x_on_device_ = put(x, shape.num_rows() * shape.in);
        for (int p = 0; p < num_products; ++p) {
            w.push_back(payload(shape.num_experts() * shape.out * shape.in, kind, 8, arithmetic, 2U + p));
            w_on_device_.push_back(put(w.back(), static_cast<std::int64_t>(w.back().size())));
            y_on_device_.emplace_back((shape.capacity() * shape.out + kGuard) * element_bytes(arithmetic));
            products_.push_back({.w = w_on_device_.back().data(), .y = y_on_device_.back().data()});
        }
        poison();
        begin_ = DeviceArray<std::int32_t>{shape.num_experts() + 1};
        set_begin(shape.rows);
    }
    void poison() {
        for (DeviceBytes& y : y_on_device_) y.poison(stream_);
    }
    void set_begin(const std::vector<int>& rows) {
        std::vector<std::int32_t> begin{0};
        for (const int r : rows) begin.push_back(begin.back() + r);
        upload(std::as_bytes(std::span{begin}), begin_.data(), stream_);
        check(cudaStreamSynchronize(stream_.raw()));
    }
    void run(const GroupedGemmRow& row) {
        if (workspace_.size() == 0) workspace_.reserve(row.workspace_bytes(shape_.num_experts(), num_products()));
        row.run({.x = {x_on_device_.data(), shape_.capacity(), shape_.in, arithmetic_},
                 .num_experts = shape_.num_experts(),
                 .out = shape_.out,
                 .begin = begin_.data(),
                 .products = products_},
                workspace_.data(), stream_);
    }
    // y of product p with its guard, as bytes.
    [[nodiscard]] std::vector<std::byte> y(int p) const {
        const DeviceBytes& from = y_on_device_[static_cast<std::size_t>(p)];
        std::vector<std::byte> bytes(static_cast<std::size_t>(from.size()));
        download(from.data(), bytes, stream_);
        check(cudaStreamSynchronize(stream_.raw()));
        return bytes;
    }
    [[nodiscard]] int num_products() const { return static_cast<int>(products_.size()); }

    std::vector<float> x;
    std::vector<std::vector<float>> w;

private:
    static constexpr std::int64_t kGuard = 4096;  // elements
    // NaN from element `used` on, and behind.
    DeviceBytes put(const std::vector<float>& values, std::int64_t used) {
        DeviceBytes to{(static_cast<std::int64_t>(values.size()) + kGuard) * element_bytes(arithmetic_)};
        to.poison(stream_);
        const std::vector<std::byte> bytes = packed(values, arithmetic_);
        upload(std::span{bytes}.first(static_cast<std::size_t>(used * element_bytes(arithmetic_))), to.data(), stream_);
        check(cudaStreamSynchronize(stream_.raw()));
        return to;
    }

    Shape3 shape_;
    Arithmetic arithmetic_;
    StreamView stream_;
    DeviceBytes x_on_device_;
    std::vector<DeviceBytes> w_on_device_;
    std::vector<DeviceBytes> y_on_device_;
    std::vector<GroupedProduct> products_;
    DeviceArray<std::int32_t> begin_;
    DeviceBytes workspace_;
};

struct Exact {
    double sum = 0;
    double sum_of_magnitudes = 0;
};
inline Exact exact(const float* x, const float* w, std::int64_t in) {
    Exact e;
    for (std::int64_t k = 0; k < in; ++k) {
        const double product = static_cast<double>(x[k]) * static_cast<double>(w[k]);
        e.sum += product;
        e.sum_of_magnitudes += std::abs(product);
    }
    return e;
}

// f32: `in` fused multiply-adds, each rounded to nearest. bf16: tensor cores cut where they align the addends, up to
// two units in the last place an addend; then one rounding of the result to 8 bits.
inline double bound(const Exact& e, std::int64_t in, Arithmetic arithmetic) {
    const auto n = static_cast<double>(in);
    if (arithmetic == Arithmetic::f32) return n * 0x1p-24 * 1.001 * e.sum_of_magnitudes;
    const double summing = n * 0x1p-22 * e.sum_of_magnitudes;
    return summing + 0x1p-8 * (std::abs(e.sum) + summing);
}

// Columns of a row to compare: all, or of a costly problem the last and a different few of each row.
inline std::vector<std::int64_t> columns_to_judge(const Shape3& shape, std::int64_t row) {
    std::vector<std::int64_t> columns;
    const bool all = shape.num_rows() * shape.in * shape.out <= (1 << 25);
    for (std::int64_t c = all ? 0 : row % 97; c < shape.out; c += all ? 1 : 97) columns.push_back(c);
    if (!all) columns.push_back(shape.out - 1);
    return columns;
}

inline void judge(const OnDevice& problem, const Shape3& shape, Arithmetic arithmetic, Payload kind,
                  const std::vector<int>& rows_of_expert) {
    for (int p = 0; p < problem.num_products(); ++p) {
        const std::vector<std::byte> bytes = problem.y(p);
        const std::vector<float> y = unpacked(bytes, arithmetic);
        const float* const w = problem.w[static_cast<std::size_t>(p)].data();
        std::int64_t row = 0;
        for (std::size_t e = 0; e < rows_of_expert.size(); ++e) {
            for (const std::int64_t end = row + rows_of_expert[e]; row < end; ++row) {
                for (const std::int64_t column : columns_to_judge(shape, row)) {
                    const Exact want =
                        exact(problem.x.data() + row * shape.in,
                              w + (static_cast<std::int64_t>(e) * shape.out + column) * shape.in, shape.in);
                    const auto rounded = static_cast<float>(want.sum);
                    const double expected =
                        kind == Payload::reals || arithmetic == Arithmetic::f32 ? want.sum : round_to_bf16(rounded);
                    const double allowed = kind == Payload::integers ? 0 : bound(want, shape.in, arithmetic);
                    const double got = y[static_cast<std::size_t>(row * shape.out + column)];
                    ASSERT_TRUE(std::abs(got - expected) <= allowed)
                        << shape.name << ": product " << p << ", expert " << e << ", row " << row << ", column "
                        << column << ": got " << got << ", expected " << expected << " within " << allowed;
                }
            }
        }
        const auto written = static_cast<std::size_t>(row * shape.out);
        for (std::size_t i = 0; i < written; ++i)
            ASSERT_TRUE(std::isfinite(y[i]))
                << shape.name << ": element " << i << " of product " << p << " was not written";
        for (std::size_t i = written * static_cast<std::size_t>(element_bytes(arithmetic)); i < bytes.size(); ++i)
            ASSERT_EQ(bytes[i], std::byte{0xFF}) << shape.name << ": byte " << i << " of product " << p
                                                 << " lies beyond the last expert's rows and was written";
    }
}

}  // namespace shardproof::gpu::grouped_gemm_test
