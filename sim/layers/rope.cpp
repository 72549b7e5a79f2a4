#include "sim/layers/rope.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "oracle/model/error.hpp"

namespace shardproof::sim {

namespace {

constexpr double kTwoPi = 2.0 * std::numbers::pi;

std::vector<double> plain_frequencies(double theta, std::int64_t head_dim) {
    std::vector<double> frequencies(static_cast<std::size_t>(head_dim / 2));
    for (std::size_t i = 0; i < frequencies.size(); ++i)
        frequencies[i] = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    return frequencies;
}

// NTK: a longer sequence stretches the base instead of the positions.
double dynamic_theta(const RopeSpec& rope, std::int64_t head_dim, std::int64_t longest_sequence) {
    const auto trained = static_cast<double>(rope.max_position_embeddings);
    const double length = std::max(static_cast<double>(longest_sequence), trained);
    const auto dim = static_cast<double>(head_dim);
    return rope.theta * std::pow(rope.factor * length / trained - (rope.factor - 1.0), dim / (dim - 2.0));
}

// YaRN: slow dims are interpolated, fast ones kept, a ramp between.
void scale_yarn(const RopeSpec& rope, std::int64_t head_dim, std::vector<double>& frequencies) {
    const auto dim_of_rotations = [&](double rotations) {
        return static_cast<double>(head_dim) *
               std::log(static_cast<double>(rope.original_max_position_embeddings) / (rotations * kTwoPi)) /
               (2.0 * std::log(rope.theta));
    };
    double low = dim_of_rotations(rope.beta_fast);
    double high = dim_of_rotations(rope.beta_slow);
    if (rope.truncate) {
        low = std::floor(low);
        high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, static_cast<double>(head_dim - 1));
    if (low == high) high += 0.001;
    for (std::size_t i = 0; i < frequencies.size(); ++i) {
        const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
        frequencies[i] = frequencies[i] / rope.factor * ramp + frequencies[i] * (1.0 - ramp);
    }
}

void scale_llama3(const RopeSpec& rope, std::vector<double>& frequencies) {
    const auto trained = static_cast<double>(rope.original_max_position_embeddings);
    const double longest_wave = trained / rope.low_freq_factor;
    const double shortest_wave = trained / rope.high_freq_factor;
    for (double& frequency : frequencies) {
        const double wave = kTwoPi / frequency;
        if (wave > longest_wave) {
            frequency /= rope.factor;
        } else if (wave >= shortest_wave) {
            const double smooth =
                (trained / wave - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
            frequency = (1.0 - smooth) * frequency / rope.factor + smooth * frequency;
        }
    }
}

double yarn_mscale(double factor, double mscale) { return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0; }

double attention_factor(const RopeSpec& rope) {
    if (rope.scaling != RopeScaling::yarn) return 1.0;
    if (rope.attention_factor) return *rope.attention_factor;
    if (rope.mscale && rope.mscale_all_dim && *rope.mscale != 0.0 && *rope.mscale_all_dim != 0.0)
        return yarn_mscale(rope.factor, *rope.mscale) / yarn_mscale(rope.factor, *rope.mscale_all_dim);
    return yarn_mscale(rope.factor, 1.0);
}

std::vector<double> frequencies_of(const RopeSpec& rope, std::int64_t head_dim, std::int64_t longest_sequence) {
    const double theta =
        rope.scaling == RopeScaling::dynamic ? dynamic_theta(rope, head_dim, longest_sequence) : rope.theta;
    std::vector<double> frequencies = plain_frequencies(theta, head_dim);
    if (rope.scaling == RopeScaling::linear) {
        for (double& frequency : frequencies) frequency /= rope.factor;
    }
    if (rope.scaling == RopeScaling::yarn) scale_yarn(rope, head_dim, frequencies);
    if (rope.scaling == RopeScaling::llama3) scale_llama3(rope, frequencies);
    return frequencies;
}

}  // namespace

RopeTable make_rope_table(const RopeSpec& rope, std::int64_t head_dim, const std::vector<std::int64_t>& positions,
                          std::int64_t longest_sequence) {
    const std::vector<double> frequencies = frequencies_of(rope, head_dim, longest_sequence);
    const double factor = attention_factor(rope);
    RopeTable table{.half_dim = head_dim / 2, .cos = {}, .sin = {}, .pairs = rope.pairs};
    table.cos.reserve(positions.size() * frequencies.size());
    table.sin.reserve(positions.size() * frequencies.size());
    for (const std::int64_t position : positions) {
        for (const double frequency : frequencies) {
            const double angle = static_cast<double>(position) * frequency;
            table.cos.push_back(static_cast<float>(std::cos(angle) * factor));
            table.sin.push_back(static_cast<float>(std::sin(angle) * factor));
        }
    }
    return table;
}

void apply_rope(Rows& x, std::int64_t head_dim, const RopeTable& table, Arithmetic arithmetic) {
    const std::int64_t half = table.half_dim;
    const std::int64_t apart = table.pairs == RopePairs::halves ? half : 1;
    const std::int64_t step = table.pairs == RopePairs::halves ? 1 : 2;
    SP_ASSERT(head_dim == 2 * half && x.cols % head_dim == 0);
    SP_ASSERT(static_cast<std::int64_t>(table.cos.size()) == x.rows() * half);
    for (std::int64_t t = 0; t < x.rows(); ++t) {
        const float* cos = table.cos.data() + t * half;
        const float* sin = table.sin.data() + t * half;
        for (std::int64_t h = 0; h < x.cols; h += head_dim) {
            float* first = x.row(t) + h;
            float* second = first + apart;
            for (std::int64_t i = 0; i < half; ++i, first += step, second += step) {
                const float a = *first;
                const float b = *second;
                *first = a * cos[i] - b * sin[i];
                *second = b * cos[i] + a * sin[i];
            }
        }
    }
    settle(x.values, arithmetic);
}

}  // namespace shardproof::sim
