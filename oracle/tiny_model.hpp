// For tests: random tiny models in the published tensor names.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "oracle/model/batch.hpp"
#include "oracle/model/checkpoint.hpp"
#include "oracle/model/config.hpp"

namespace shardproof::oracle {

using Random = std::mt19937_64;
inline std::int64_t between(Random& random, std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(high - low + 1));
}

struct TinyModel {
    ModelConfig config;
    Checkpoint checkpoint;
};

struct TinyWeights {
    DType dtype = DType::F32;
    double size = 1.0;        // of a linear layer's output, its input being about 1
    double gate_size = 1.0;   // of router logits
    std::int64_t twins = -1;  // experts twins and twins+1 get the same gate row
};

inline void append_value(DType dtype, float value, std::vector<std::byte>& bytes) {
    std::uint32_t bits = 0;
    const float kept = dtype == DType::BF16 ? round_to_bf16(value) : value;
    std::memcpy(&bits, &kept, 4);
    for (int byte = dtype == DType::BF16 ? 2 : 0; byte < 4; ++byte) {
        bytes.push_back(static_cast<std::byte>(bits >> (8 * byte) & 0xFF));
    }
}

// Weights of a config, in the published names, normal with fan-in scaling.
inline Checkpoint random_checkpoint(const ModelConfig& config, const TinyWeights& spec, Random& random) {
    std::vector<std::pair<std::string, Tensor>> tensors;
    const auto add = [&](const std::string& name, const Shape& shape, double mean, double deviation) -> Tensor& {
        std::normal_distribution<float> normal{static_cast<float>(mean), static_cast<float>(deviation)};
        Tensor tensor{spec.dtype, shape, {}};
        for (std::int64_t i = 0; i < num_elements(shape); ++i) append_value(spec.dtype, normal(random), tensor.bytes);
        return tensors.emplace_back(name, std::move(tensor)).second;
    };
    const auto linear = [&](const std::string& name, std::int64_t out, std::int64_t in, double size) -> Tensor& {
        return add(name, {out, in}, 0.0, size / std::sqrt(static_cast<double>(in)));
    };
    const auto turned = [&](const std::string& name, std::int64_t out, std::int64_t in) {
        add(name, {config.router.num_experts, in, out}, 0.0, spec.size / std::sqrt(static_cast<double>(in)));
    };
    const std::int64_t d = config.hidden_size;
    const Heads heads = config.heads();
    const bool llama4 = config.family.starts_with("llama4");
    const std::string prefix = config.family == "llama4" ? "language_model." : "";
    const auto mlp = [&](const std::string& at, std::int64_t f) {
        linear(at + "gate_proj.weight", f, d, spec.size);
        linear(at + "up_proj.weight", f, d, spec.size);
        linear(at + "down_proj.weight", d, f, spec.size);
    };
    add(prefix + "model.embed_tokens.weight", {config.vocab_size, d}, 0.0, 1.0);
    for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
        const std::string p = prefix + "model.layers." + std::to_string(layer) + ".";
        add(p + "input_layernorm.weight", {d}, 1.0, 0.2);
        add(p + "post_attention_layernorm.weight", {d}, 1.0, 0.2);
        linear(p + "self_attn.q_proj.weight", heads.num_heads * heads.head_dim, d, spec.size);
        linear(p + "self_attn.k_proj.weight", heads.num_kv_heads * heads.head_dim, d, spec.size);
        linear(p + "self_attn.v_proj.weight", heads.num_kv_heads * heads.head_dim, d, spec.size);
        linear(p + "self_attn.o_proj.weight", d, heads.num_heads * heads.head_dim, spec.size);
        if (!llama4 && config.grouped_query().qk_norm) {
            add(p + "self_attn.q_norm.weight", {heads.head_dim}, 1.0, 0.2);
            add(p + "self_attn.k_norm.weight", {heads.head_dim}, 1.0, 0.2);
        }
        const std::string block = p + (llama4 ? "feed_forward." : "mlp.");
        if (!config.is_moe(layer)) {
            mlp(block, config.dense_intermediate_size);
            continue;
        }
        Tensor& gate =
            linear(block + (llama4 ? "router.weight" : "gate.weight"), config.router.num_experts, d, spec.gate_size);
        if (spec.twins >= 0) {
            const std::size_t row = gate.bytes.size() / static_cast<std::size_t>(config.router.num_experts);
            std::memcpy(gate.bytes.data() + (static_cast<std::size_t>(spec.twins) + 1) * row,
                        gate.bytes.data() + static_cast<std::size_t>(spec.twins) * row, row);
        }
        if (llama4) {
            turned(block + "experts.gate_up_proj", 2 * config.moe_intermediate_size, d);
            turned(block + "experts.down_proj", d, config.moe_intermediate_size);
            mlp(block + "shared_expert.", config.shared_intermediate_size);
        } else {
            for (std::int64_t e = 0; e < config.router.num_experts; ++e)
                mlp(block + "experts." + std::to_string(e) + ".", config.moe_intermediate_size);
        }
    }
    add(prefix + "model.norm.weight", {d}, 1.0, 0.2);
    if (!config.tie_embeddings) linear(prefix + "lm_head.weight", config.vocab_size, d, spec.size);
    std::vector<std::pair<std::string, TensorView>> views;
    views.reserve(tensors.size());
    for (const auto& [name, tensor] : tensors) views.emplace_back(name, tensor.view());
    return Checkpoint::from_sources({own_bytes(to_safetensors(views), "tiny.safetensors")});
}

inline ModelConfig tiny_config() {
    ModelConfig config;
    config.family = "qwen3_moe";
    config.num_layers = 1;
    config.hidden_size = 16;
    config.vocab_size = 33;
    config.dense_intermediate_size = 20;
    config.moe_intermediate_size = 12;
    config.attention =
        GroupedQueryAttention{.num_heads = 4, .num_kv_heads = 2, .head_dim = 6, .qk_norm = true, .rope = {}};
    config.grouped_query().rope.max_position_embeddings = 64;
    config.grouped_query().rope.original_max_position_embeddings = 32;
    config.router = {.num_experts = 8, .top_k = 2, .norm_topk = true};
    config.mlp = {MlpKind::moe};
    return config;
}

// The same model as a Llama 4: every switch of its attention, drawn.
inline void make_llama4(ModelConfig& config, Random& random) {
    const GroupedQueryAttention was = config.grouped_query();
    Llama4Attention spec{.num_heads = was.num_heads,
                         .num_kv_heads = was.num_kv_heads,
                         .head_dim = was.head_dim,
                         .rope = was.rope,
                         .qk_norm = was.qk_norm,
                         .rope_layers = {},
                         .chunked_layers = {}};
    spec.rope.pairs = RopePairs::neighbours;
    spec.chunk_size = between(random, 1, 6);
    if (between(random, 0, 2) != 0)
        spec.temperature = {.floor_scale = between(random, 1, 4),
                            .attn_scale = 0.5 * static_cast<double>(between(random, 0, 3))};
    for (std::int64_t l = 0; l < config.num_layers; ++l) {
        spec.rope_layers.push_back(between(random, 0, 1) == 0);
        spec.chunked_layers.push_back(between(random, 0, 1) == 0);
    }
    config.family = between(random, 0, 1) == 0 ? "llama4" : "llama4_text";
    config.attention = spec;
    config.shared_intermediate_size = between(random, 1, 20);
    config.router.choose_by = ChooseBy::logits;
}

inline ModelConfig random_config(Random& random) {
    ModelConfig config = tiny_config();
    config.num_layers = between(random, 1, 2);
    config.hidden_size = between(random, 4, 24);
    config.vocab_size = between(random, 5, 40);
    config.dense_intermediate_size = between(random, 1, 24);
    config.moe_intermediate_size = between(random, 1, 20);
    config.rms_norm_eps = between(random, 0, 1) == 0 ? 1e-6 : 1e-5;
    config.tie_embeddings = between(random, 0, 2) == 0;
    config.grouped_query().num_kv_heads = between(random, 1, 3);
    config.grouped_query().num_heads = config.grouped_query().num_kv_heads * between(random, 1, 3);
    config.grouped_query().head_dim = 2 * between(random, 2, 5);
    config.grouped_query().qk_norm = between(random, 0, 3) != 0;
    RopeSpec& rope = config.grouped_query().rope;
    rope.scaling = static_cast<RopeScaling>(between(random, 0, 4));
    rope.factor = rope.scaling == RopeScaling::none ? 1.0 : 1.0 + 0.5 * static_cast<double>(between(random, 1, 6));
    rope.max_position_embeddings = between(random, 4, 64);
    config.router.num_experts = between(random, 1, 12);
    config.router.top_k = between(random, 1, std::min<std::int64_t>(4, config.router.num_experts));
    config.router.norm_topk = between(random, 0, 1) == 0;
    if (between(random, 0, 4) == 0) config.router.score = ScoreFunction::sigmoid;
    if (between(random, 0, 4) == 0) config.router.score_on = ScoreOn::input;
    if (between(random, 0, 4) == 0) config.router.scale = 2.5;
    config.mlp.clear();
    for (std::int64_t l = 0; l < config.num_layers; ++l) {
        config.mlp.push_back(between(random, 0, 2) == 0 ? MlpKind::dense : MlpKind::moe);
    }
    if (between(random, 0, 2) == 0) make_llama4(config, random);
    return config;
}

inline Batch random_batch(const ModelConfig& config, Random& random) {
    Batch batch;
    for (std::int64_t s = between(random, 1, 3); s > 0; --s) {
        Sequence sequence;
        for (std::int64_t n = between(random, 0, 8); n > 0; --n) {
            sequence.ids.push_back(between(random, 0, config.vocab_size - 1));
        }
        batch.sequences.push_back(std::move(sequence));
    }
    return batch;
}

}  // namespace shardproof::oracle
