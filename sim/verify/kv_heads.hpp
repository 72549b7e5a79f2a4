// What every attention has of key and value heads.
#pragma once
#include <cstdint>
#include <variant>

#include "oracle/model/config.hpp"

namespace shardproof::verify {

struct KvHeads {
    std::int64_t count = 0;
    std::int64_t rows = 0;  // of one head in wk
};
[[nodiscard]] inline KvHeads kv_heads_of(const ModelConfig& config) {
    return std::visit([](const auto& spec) { return KvHeads{spec.num_kv_heads, spec.head_dim}; }, config.attention);
}

}  // namespace shardproof::verify
