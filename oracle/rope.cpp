#include "oracle/rope.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace shardproof::oracle {
namespace {

std::vector<double> plain(double theta, std::int64_t head_dim) {
    std::vector<double> inverse;
    for (std::int64_t d = 0; d < head_dim; d += 2) {
        inverse.push_back(1.0 / std::pow(theta, static_cast<double>(d) / static_cast<double>(head_dim)));
    }
    return inverse;
}

// Stretches theta so that the longest sequence fits; no effect up to max_position_embeddings.
double dynamic_theta(const RopeSpec& spec, std::int64_t head_dim, std::int64_t longest) {
    const auto max_positions = static_cast<double>(spec.max_position_embeddings);
    const double length = std::max(static_cast<double>(longest), max_positions);
    const double stretch = spec.factor * length / max_positions - (spec.factor - 1.0);
    const auto dim = static_cast<double>(head_dim);
    return spec.theta * std::pow(stretch, dim / (dim - 2.0));
}

double yarn_mscale(double scale, double mscale) { return scale <= 1.0 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0; }

double yarn_attention_factor(const RopeSpec& spec) {
    if (spec.attention_factor) return *spec.attention_factor;
    const double mscale = spec.mscale.value_or(0.0);
    const double all_dim = spec.mscale_all_dim.value_or(0.0);
    if (mscale != 0.0 && all_dim != 0.0) return yarn_mscale(spec.factor, mscale) / yarn_mscale(spec.factor, all_dim);
    return yarn_mscale(spec.factor, 1.0);
}

// Dims that turn often keep their frequency, dims that turn seldom are interpolated, with a ramp between.
std::vector<double> yarn(const RopeSpec& spec, std::int64_t head_dim) {
    const auto dim = static_cast<double>(head_dim);
    const auto turning = [&](double rotations) {
        const auto length = static_cast<double>(spec.original_max_position_embeddings);
        return dim * std::log(length / (rotations * 2.0 * std::numbers::pi)) / (2.0 * std::log(spec.theta));
    };
    double low = turning(spec.beta_fast);
    double high = turning(spec.beta_slow);
    if (spec.truncate) {
        low = std::floor(low);
        high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, dim - 1.0);
    if (low == high) high += 0.001;

    std::vector<double> inverse;
    for (std::int64_t i = 0; i < head_dim / 2; ++i) {
        const double period = std::pow(spec.theta, 2.0 * static_cast<double>(i) / dim);
        const double keep = 1.0 - std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
        inverse.push_back(1.0 / (spec.factor * period) * (1.0 - keep) + 1.0 / period * keep);
    }
    return inverse;
}

std::vector<double> llama3(const RopeSpec& spec, std::int64_t head_dim) {
    const auto length = static_cast<double>(spec.original_max_position_embeddings);
    std::vector<double> inverse = plain(spec.theta, head_dim);
    for (double& frequency : inverse) {
        const double wavelength = 2.0 * std::numbers::pi / frequency;
        if (wavelength < length / spec.high_freq_factor) continue;
        if (wavelength > length / spec.low_freq_factor) {
            frequency /= spec.factor;
            continue;
        }
        const double smooth =
            (length / wavelength - spec.low_freq_factor) / (spec.high_freq_factor - spec.low_freq_factor);
        frequency = (1.0 - smooth) * frequency / spec.factor + smooth * frequency;
    }
    return inverse;
}

}  // namespace

RopeFrequencies rope_frequencies(const RopeSpec& spec, std::int64_t head_dim, std::int64_t longest) {
    switch (spec.scaling) {
        case RopeScaling::none:
            break;
        case RopeScaling::linear: {
            RopeFrequencies scaled{plain(spec.theta, head_dim), 1.0};
            for (double& frequency : scaled.inverse) frequency /= spec.factor;
            return scaled;
        }
        case RopeScaling::dynamic:
            return {plain(dynamic_theta(spec, head_dim, longest), head_dim), 1.0};
        case RopeScaling::yarn:
            return {yarn(spec, head_dim), yarn_attention_factor(spec)};
        case RopeScaling::llama3:
            return {llama3(spec, head_dim), 1.0};
    }
    return {plain(spec.theta, head_dim), 1.0};
}

RopeTable rope_table(const RopeSpec& spec, std::int64_t head_dim, std::int64_t longest) {
    const RopeFrequencies frequencies = rope_frequencies(spec, head_dim, longest);
    RopeTable table{head_dim / 2, frequencies.attention_factor, {}, {}, spec.pairs};
    table.cos.reserve(static_cast<std::size_t>(longest * table.half));
    table.sin.reserve(static_cast<std::size_t>(longest * table.half));
    for (std::int64_t position = 0; position < longest; ++position) {
        for (const double frequency : frequencies.inverse) {
            const double angle = static_cast<double>(position) * frequency;
            table.cos.push_back(std::cos(angle) * frequencies.attention_factor);
            table.sin.push_back(std::sin(angle) * frequencies.attention_factor);
        }
    }
    return table;
}

}  // namespace shardproof::oracle
