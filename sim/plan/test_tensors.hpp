// Checkpoint tensors for tests, and shards assembled from them element by element by the definition of Source, never
// through a LoadPlan.
#pragma once
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "oracle/model/error.hpp"
#include "sim/plan/load_plan.hpp"
#include "sim/plan/test_params.hpp"

namespace shardproof::testing {

using Bytes = std::vector<std::byte>;
using Tensors = std::map<std::string, Tensor>;

inline std::size_t bytes_of(DType dtype) { return static_cast<std::size_t>(bits_of(dtype) / 8); }

// Every byte a function of tensor, element and byte, so that any other element is seen.
inline Tensors tensors_of(const std::vector<Parameter>& parameters, DType dtype) {
    Tensors tensors;
    std::uint64_t state = 1;
    for (const Parameter& parameter : parameters) {
        for (const Source& source : parameter.sources) {
            if (tensors.contains(source.tensor)) continue;
            Tensor tensor{dtype, source.tensor_shape, {}};
            tensor.bytes.resize(static_cast<std::size_t>(num_elements(tensor.shape)) * bytes_of(dtype));
            for (std::byte& byte : tensor.bytes) {
                state = state * 6364136223846793005U + 1442695040888963407U;
                byte = static_cast<std::byte>(state >> 56U);
            }
            tensors.emplace(source.tensor, std::move(tensor));
        }
    }
    return tensors;
}

inline Bytes file_of(const Tensors& tensors) {
    std::vector<std::pair<std::string, TensorView>> views;
    for (const auto& [name, tensor] : tensors) views.emplace_back(name, tensor.view());
    return to_safetensors(views);
}

inline Checkpoint checkpoint_of(const Bytes& file) {
    return Checkpoint::from_sources({own_bytes(file, "model.safetensors")});
}

// The parameter index at flat position `flat` of an array of `shape`.
inline std::vector<std::int64_t> unflatten(std::int64_t flat, const Shape& shape) {
    std::vector<std::int64_t> index(shape.size());
    for (std::size_t dim = shape.size(); dim-- > 0;) {
        index[dim] = flat % shape[dim];
        flat /= shape[dim];
    }
    return index;
}

// The bytes of one element, by the equation above Source. Fails where no source or several hold it.
inline const std::byte* element_of(const Parameter& parameter, const Tensors& tensors,
                                   const std::vector<std::int64_t>& p) {
    const std::byte* found = nullptr;
    for (const Source& source : parameter.sources) {
        bool inside = true;
        for (std::size_t dim = 0; dim < p.size(); ++dim) {
            inside = inside && p[dim] >= source.param_box[dim].begin && p[dim] < source.param_box[dim].end;
        }
        if (!inside) continue;
        SP_ASSERT(found == nullptr);
        std::int64_t flat = 0;
        for (std::size_t j = 0; j < source.tensor_shape.size(); ++j) {
            const std::size_t dim = source.param_dim_of[j];
            flat = flat * source.tensor_shape[j] + source.tensor_begin[j] + p[dim] - source.param_box[dim].begin;
        }
        const Tensor& tensor = tensors.at(source.tensor);
        found = tensor.bytes.data() + static_cast<std::size_t>(flat) * bytes_of(tensor.dtype);
    }
    SP_ASSERT(found != nullptr);
    return found;
}

inline Bytes expected_shard(const Parameter& parameter, const Tensors& tensors, DType dtype,
                            const std::vector<IndexRuns>& index) {
    std::vector<std::vector<std::int64_t>> held(index.size());
    for (std::size_t dim = 0; dim < index.size(); ++dim) {
        for (const Run& run : index[dim]) {
            for (std::int64_t i = run.begin; i < run.end; ++i) held[dim].push_back(i);
        }
    }
    const Shape shape = local_shape(index);
    Bytes bytes;
    for (std::int64_t flat = 0; flat < num_elements(shape); ++flat) {
        std::vector<std::int64_t> p = unflatten(flat, shape);
        for (std::size_t dim = 0; dim < p.size(); ++dim) p[dim] = held[dim][static_cast<std::size_t>(p[dim])];
        const std::byte* const element = element_of(parameter, tensors, p);
        bytes.insert(bytes.end(), element, element + bytes_of(dtype));
    }
    return bytes;
}

inline Bytes loaded(const LoadPlan& plan, const Checkpoint& checkpoint, std::byte poison = std::byte{0xA5}) {
    Bytes target(static_cast<std::size_t>(plan.shard_bytes()), poison);
    EXPECT_EQ(load(plan, checkpoint, target), plan.bytes_read());
    return target;
}

}  // namespace shardproof::testing
