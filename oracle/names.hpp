// The oracle's own tables of checkpoint tensor names, one a family, and how a tensor holds what the oracle asks for.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "oracle/model/config.hpp"

namespace shardproof::oracle {

// Where a checkpoint keeps a vector or a matrix [rows, cols]: alone, or in a tensor of all experts, or among the rows
// of several matrices one after another, or transposed.
struct Stored {
    std::string tensor;
    std::optional<std::int64_t> expert = {};  // its slice of the tensor's dim 0, which has one an expert
    bool transposed = false;                  // the tensor's last two dims are [cols, rows]
    std::int64_t part = 0;                    // of `parts` matrices of as many rows, in order
    std::int64_t parts = 1;
};

// A parameter by the contract's name, "layers.0.attention.wq.weight"; of "layers.L.moe.experts.*" one expert's matrix,
// which must be named. A tied head is the embeddings. Throws InputError for a name that the model does not have.
[[nodiscard]] Stored stored(const ModelConfig& config, std::string_view parameter,
                            std::optional<std::int64_t> expert = std::nullopt);
// Whether a parameter's name, which the model must have, is one of "layers.L.moe.experts.*".
[[nodiscard]] bool is_of_experts(const ModelConfig& config, std::string_view parameter);

}  // namespace shardproof::oracle
