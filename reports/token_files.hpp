// For tests: files of token ids and logits, beside the goldens' own.
#pragma once
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "oracle/model/safetensors.hpp"

namespace shardproof::reports {

// An I64 tensor of this name and shape.
inline void write_ids(const std::string& file, const std::vector<std::int64_t>& ids, const Shape& shape,
                      const std::string& name = "input_ids") {
    write_safetensors(file, {{name, TensorView{DType::I64, shape, std::as_bytes(std::span{ids})}}});
}

// Ids 0, 7, 14, ... below 101, which every golden's vocabulary holds.
inline void write_some_ids(const std::string& file, std::int64_t sequences, std::int64_t length) {
    std::vector<std::int64_t> ids;
    for (std::int64_t i = 0; i < sequences * length; ++i) ids.push_back(i * 7 % 101);
    write_ids(file, ids, {sequences, length});
}

inline Tensor tensor_of(const std::string& file, const std::string& name) {
    const SafetensorsFile opened{map_file(file, file)};
    const SafetensorsEntry* entry = opened.find(name);
    if (entry == nullptr) throw std::runtime_error(file + " has no " + name);
    const TensorView view = opened.view(*entry);
    return {.dtype = view.dtype, .shape = view.shape, .bytes = {view.bytes.begin(), view.bytes.end()}};
}

inline std::vector<double> values_of(const Tensor& tensor) {
    std::vector<double> values;
    for (std::int64_t i = 0; i < num_elements(tensor.shape); ++i) values.push_back(element_as_double(tensor.view(), i));
    return values;
}

}  // namespace shardproof::reports
