#include "oracle/model/family.hpp"

#include <algorithm>

#include "oracle/model/error.hpp"

namespace shardproof {

std::string_view name_of(Role role) {
    switch (role) {
        case Role::tok_embeddings:
            return "tok_embeddings";
        case Role::attention_norm:
            return "attention_norm";
        case Role::wq:
            return "wq";
        case Role::wk:
            return "wk";
        case Role::wv:
            return "wv";
        case Role::wo:
            return "wo";
        case Role::q_norm:
            return "q_norm";
        case Role::k_norm:
            return "k_norm";
        case Role::ffn_norm:
            return "ffn_norm";
        case Role::ffn_w1:
            return "ffn_w1";
        case Role::ffn_w2:
            return "ffn_w2";
        case Role::ffn_w3:
            return "ffn_w3";
        case Role::router_gate:
            return "router_gate";
        case Role::expert_bias:
            return "expert_bias";
        case Role::expert_w1:
            return "expert_w1";
        case Role::expert_w2:
            return "expert_w2";
        case Role::expert_w3:
            return "expert_w3";
        case Role::shared_w1:
            return "shared_w1";
        case Role::shared_w2:
            return "shared_w2";
        case Role::shared_w3:
            return "shared_w3";
        case Role::final_norm:
            return "final_norm";
        case Role::lm_head:
            return "lm_head";
    }
    return {};
}

std::vector<std::int64_t> tensor_index(const Source& source, std::span<const std::int64_t> param_idx) {
    SP_ASSERT(param_idx.size() == source.param_box.size());
    std::vector<std::int64_t> index(source.tensor_shape.size());
    for (std::size_t dim = 0; dim < index.size(); ++dim) {
        const std::size_t param_dim = source.param_dim_of[dim];
        index[dim] = source.tensor_begin[dim] + param_idx[param_dim] - source.param_box[param_dim].begin;
    }
    return index;
}

const ModelFamily* family_named(std::string_view model_type) {
    for (const ModelFamily& family : families()) {
        if (family.model_type == model_type) return &family;
    }
    return nullptr;
}

bool is_vision_tensor(const ModelFamily& family, std::string_view tensor) {
    return std::any_of(family.vision_prefixes.begin(), family.vision_prefixes.end(),
                       [&](std::string_view prefix) { return tensor.starts_with(prefix); });
}

const ModelFamily& family_of(const ModelConfig& config) {
    const ModelFamily* family = family_named(config.family);
    SP_ASSERT(family != nullptr);
    return *family;
}

}  // namespace shardproof
