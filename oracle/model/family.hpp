// ModelFamily: checkpoint tensor names, shapes and transposes <-> parameters with a Role. One row a family.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "oracle/model/box.hpp"
#include "oracle/model/config.hpp"

namespace shardproof {

// What a parameter is for. Rule sets place parameters by role alone.
enum class Role : std::uint8_t {
    tok_embeddings,  // [V,D]
    attention_norm,  // [D]
    wq,              // [heads*head_dim, D]
    wk,              // [kv_heads*head_dim, D]
    wv,              // [kv_heads*head_dim, D]
    wo,              // [D, heads*head_dim]
    q_norm,          // [head_dim]
    k_norm,          // [head_dim]
    ffn_norm,        // [D]
    ffn_w1,          // [I,D]  gate of a dense layer
    ffn_w2,          // [D,I]  down
    ffn_w3,          // [I,D]  up
    router_gate,     // [E,D]
    expert_bias,     // [E]
    expert_w1,       // [E,F,D]  gate
    expert_w2,       // [E,D,F]  down
    expert_w3,       // [E,F,D]  up
    shared_w1,       // [Fs,D]
    shared_w2,       // [D,Fs]
    shared_w3,       // [Fs,D]
    final_norm,      // [D]
    lm_head,         // [V,D]
};
[[nodiscard]] std::string_view name_of(Role role);
[[nodiscard]] constexpr bool is_routed_expert(Role role) {
    return role == Role::expert_w1 || role == Role::expert_w2 || role == Role::expert_w3;
}

// Where a part of a parameter comes from. The element of the parameter at index p, p inside param_box, is the element t
// of the checkpoint tensor with
//     t[j] = tensor_begin[j] + p[param_dim_of[j]] - param_box[param_dim_of[j]].begin        for each tensor dim j,
// so a param dim that no tensor dim names must have extent 1 in param_box. It is invertible: stacked experts
// (param_dim_of {1,2}), transposed ones ({0,2,1}) and halves of a fused tensor (tensor_begin) are all this one form.
struct Source {
    std::string tensor;  // name in the checkpoint
    Shape tensor_shape;  // of the whole checkpoint tensor
    Box param_box;  // one run a param dim
    std::vector<std::int64_t> tensor_begin;  // one entry a tensor dim
    std::vector<std::size_t> param_dim_of;  // one entry a tensor dim
    std::optional<std::string> scale_tensor = {};  // block scales of a quantised tensor; none yet
};
// The index t of the checkpoint tensor's element by the formula above; `param_idx` lies inside param_box.
[[nodiscard]] std::vector<std::int64_t> tensor_index(const Source& source, std::span<const std::int64_t> param_idx);

struct Parameter {
    std::string name;  // contract's spelling, "layers.0.moe.experts.w1"
    Role role{};
    std::optional<std::int64_t> layer;
    Shape shape;  // global
    std::vector<Source> sources;  // param_boxes tile the parameter
};

struct ModelFamily {
    std::string_view model_type;  // config.json's "model_type"
    std::string_view architecture;  // its "architectures" entry, for messages
    ModelConfig (*parse)(std::string_view json_text, const std::string& file);
    // All parameters in model order (embeddings, layers, norm, head), a tied head left out.
    std::vector<Parameter> (*parameters)(const ModelConfig& config);
    // Parameters that one token uses (top_k of the experts), counted in elements.
    std::int64_t (*active_parameters)(const ModelConfig& config);
    // The head's tensor, which a checkpoint of a tied model may hold all the same.
    std::string_view tied_head = "lm_head.weight";
    // Tensors whose names begin so belong to a vision model beside this one, and are left alone.
    std::span<const std::string_view> vision_prefixes = {};
};

[[nodiscard]] std::span<const ModelFamily> families();
[[nodiscard]] const ModelFamily& family_of(const ModelConfig& config);  // config is valid, so it exists
[[nodiscard]] const ModelFamily* family_named(std::string_view model_type);
[[nodiscard]] bool is_vision_tensor(const ModelFamily& family, std::string_view tensor);

}  // namespace shardproof
