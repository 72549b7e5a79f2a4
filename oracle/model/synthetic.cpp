#include "oracle/model/synthetic.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <unordered_set>

#include "oracle/model/error.hpp"

namespace shardproof {
namespace {

bool is_norm(Role role) {
    return role == Role::attention_norm || role == Role::ffn_norm || role == Role::q_norm || role == Role::k_norm ||
           role == Role::final_norm;
}

// The largest power of two not above sqrt(3 / fan_in), which keeps the variance of a sum of fan_in products. By whole
// numbers: 4^-k * fan_in <= 3.
float half_width_of(std::int64_t fan_in) {
    float half_width = 1.0F;
    for (std::int64_t quarter = 3; quarter < fan_in; quarter *= 4) half_width /= 2;
    return half_width;
}

SyntheticTensor tensor_of(const Parameter& parameter, const Source& source) {
    SyntheticTensor tensor{.name = source.tensor, .shape = source.tensor_shape};
    if (is_norm(parameter.role)) {
        tensor.middle = 1.0F;
        tensor.half_width = 0.25F;
    } else if (parameter.role == Role::expert_bias) {
        tensor.half_width = 0.0625F;
    } else if (parameter.role != Role::tok_embeddings) {
        tensor.half_width = half_width_of(parameter.shape.back());
    }
    return tensor;
}

}  // namespace

std::vector<SyntheticTensor> synthetic_tensors(std::span<const Parameter> parameters) {
    std::vector<SyntheticTensor> tensors;
    std::unordered_set<std::string_view> seen;
    const auto add = [&](const Parameter& parameter, std::size_t source_idx) {
        if (source_idx >= parameter.sources.size()) return;
        const Source& source = parameter.sources[source_idx];
        if (seen.insert(source.tensor).second) tensors.push_back(tensor_of(parameter, source));
    };
    for (std::size_t p = 0; p < parameters.size();) {
        std::size_t end = p + 1;
        std::size_t num_sources = parameters[p].sources.size();
        // The stacked parameters of a layer's experts: the first expert's tensors, then the second's.
        while (end < parameters.size() && is_routed_expert(parameters[p].role) &&
               is_routed_expert(parameters[end].role) && parameters[end].layer == parameters[p].layer) {
            num_sources = std::max(num_sources, parameters[end].sources.size());
            ++end;
        }
        for (std::size_t s = 0; s < num_sources; ++s) {
            for (std::size_t q = p; q < end; ++q) add(parameters[q], s);
        }
        p = end;
    }
    return tensors;
}

namespace {

// FNV-1a, then SplitMix64's finaliser: names that differ in one digit give keys that share nothing.
std::uint64_t finalised(std::uint64_t z) {
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31U);
}

std::uint64_t key_of(const std::string& name, std::uint64_t seed) {
    std::uint64_t hash = 0xCBF29CE484222325U;
    for (const char c : name) hash = (hash ^ static_cast<std::uint8_t>(c)) * 0x100000001B3U;
    return finalised(hash ^ finalised(seed + 0x9E3779B97F4A7C15U));
}

// Bits of a value that f16 holds.
std::uint16_t f16_bits(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (bits >> 16U) & 0x8000U;
    const float magnitude = std::fabs(value);
    if (magnitude < 0x1p-14F) return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(magnitude * 0x1p24F));
    const std::uint32_t exponent = ((bits >> 23U) & 0xFFU) - 127U + 15U;
    return static_cast<std::uint16_t>(sign | (exponent << 10U) | ((bits >> 13U) & 0x3FFU));
}

// Element i of a tensor with this key: the i-th of SplitMix64's sequence, its top 24 bits, all steps exact but one
// addition.
float value_at(const SyntheticTensor& tensor, std::uint64_t key, std::uint64_t i) {
    const std::uint64_t bits = finalised(key + (i + 1) * 0x9E3779B97F4A7C15U);
    const auto whole = static_cast<std::int32_t>(bits >> 40U) - (1 << 23);
    return tensor.middle + static_cast<float>(whole) * 0x1p-23F * tensor.half_width;
}

template <class Stored, class Encode>
void fill(const SyntheticTensor& tensor, std::uint64_t key, std::int64_t first, std::span<std::byte> out,
          Encode encode) {
    SP_ASSERT(out.size() % sizeof(Stored) == 0);
    const std::size_t count = out.size() / sizeof(Stored);
    for (std::size_t i = 0; i < count; ++i) {
        const Stored stored = encode(value_at(tensor, key, static_cast<std::uint64_t>(first) + i));
        std::memcpy(out.data() + i * sizeof(Stored), &stored, sizeof(Stored));
    }
}

}  // namespace

void fill_synthetic(const SyntheticTensor& tensor, DType dtype, std::uint64_t seed, std::int64_t first,
                    std::span<std::byte> out) {
    const std::uint64_t key = key_of(tensor.name, seed);
    switch (dtype) {
        case DType::BF16:
            return fill<std::uint16_t>(tensor, key, first, out, [](float value) {
                return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(round_to_bf16(value)) >> 16U);
            });
        case DType::F16:
            return fill<std::uint16_t>(tensor, key, first, out,
                                       [](float value) { return f16_bits(round_to_f16(value)); });
        case DType::F32:
            return fill<float>(tensor, key, first, out, [](float value) { return value; });
        default:
            break;
    }
    SP_ASSERT(!"a dtype that a model can have");
}

}  // namespace shardproof
