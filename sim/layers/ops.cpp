#include "sim/layers/ops.hpp"

#include <array>
#include <cmath>

#include "oracle/model/error.hpp"

namespace shardproof::sim {

namespace {

constexpr std::int64_t kLanes = 16;

float sum_of_lanes(const std::array<float, kLanes>& lanes) {
    std::array<float, 8> eight;
    for (std::size_t i = 0; i < 8; ++i) eight[i] = lanes[i] + lanes[i + 8];
    for (std::size_t width = 4; width >= 1; width /= 2) {
        for (std::size_t i = 0; i < width; ++i) eight[i] += eight[i + width];
    }
    return eight[0];
}

inline float dot_inline(const float* a, const float* b, std::int64_t n) {
    std::array<float, kLanes> lanes{};
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        for (std::int64_t j = 0; j < kLanes; ++j) lanes[static_cast<std::size_t>(j)] += a[i + j] * b[i + j];
    }
    for (std::int64_t j = 0; i + j < n; ++j) lanes[static_cast<std::size_t>(j)] += a[i + j] * b[i + j];
    return sum_of_lanes(lanes);
}

}  // namespace

void settle(std::span<float> values, Arithmetic arithmetic) {
    if (arithmetic == Arithmetic::f32) return;
    for (float& value : values) value = round_to_bf16(value);
}

Rows make_rows(std::int64_t rows, std::int64_t cols) {
    return {.cols = cols, .values = std::vector<float>(static_cast<std::size_t>(rows * cols))};
}

Rows slice_rows(const Rows& all, std::int64_t begin, std::int64_t end) {
    return {.cols = all.cols, .values = {all.values.begin() + begin * all.cols, all.values.begin() + end * all.cols}};
}

float dot(const float* a, const float* b, std::int64_t n) { return dot_inline(a, b, n); }

Rows linear(const Rows& x, const Weight& w, Arithmetic arithmetic) {
    SP_ASSERT(w.shape.size() == 2 && w.shape[1] == x.cols);
    Rows y = make_rows(x.rows(), w.shape[0]);
    linear(x.values.data(), x.rows(), x.cols, w.all().data(), w.shape[0], y.values.data());
    settle(y.values, arithmetic);
    return y;
}

Rows rms_norm(const Rows& x, const Weight& w, double eps, Arithmetic arithmetic) {
    const auto width = static_cast<std::int64_t>(w.all().size());
    const float* weights = w.all().data();
    SP_ASSERT(width > 0 && x.cols % width == 0);
    Rows y = make_rows(x.rows(), x.cols);
    const auto groups = static_cast<std::int64_t>(x.values.size()) / width;
    for (std::int64_t g = 0; g < groups; ++g) {
        const float* from = x.values.data() + g * width;
        float* to = y.values.data() + g * width;
        const float mean = dot_inline(from, from, width) / static_cast<float>(width);
        const float scale = 1.0F / std::sqrt(mean + static_cast<float>(eps));
        for (std::int64_t i = 0; i < width; ++i) to[i] = from[i] * scale * weights[i];
    }
    settle(y.values, arithmetic);
    return y;
}

void add(Rows& a, const Rows& b, Arithmetic arithmetic) {
    SP_ASSERT(a.values.size() == b.values.size());
    for (std::size_t i = 0; i < a.values.size(); ++i) a.values[i] += b.values[i];
    settle(a.values, arithmetic);
}

void swiglu(std::span<float> gate, std::span<const float> up, Arithmetic arithmetic) {
    SP_ASSERT(gate.size() == up.size());
    for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1.0F + std::exp(-gate[i])) * up[i];
    settle(gate, arithmetic);
}

}  // namespace shardproof::sim
