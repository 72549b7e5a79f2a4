// The plan as canonical text, hashed: equal plans hash equal on every machine and in every build.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <concepts>
#include <cstring>

#include "sim/plan/plan.hpp"

namespace shardproof {
namespace {

// Every value is followed by a separator and every list preceded by its length, so that no two plans share a text.
class Text {
public:
    void add(std::string_view word) {
        add(static_cast<std::int64_t>(word.size()));
        text_ += word;
    }
    void add(std::integral auto number) { text_ += std::to_string(number) + ";"; }
    void add(double number) {
        std::uint64_t bits = 0;
        std::memcpy(&bits, &number, sizeof bits);
        add(bits);
    }
    template <class T>
    void add(const std::optional<T>& value) {
        add(static_cast<std::int64_t>(value.has_value()));
        if (value) add(*value);
    }
    template <class T>
    void add(const std::vector<T>& values) {
        add(static_cast<std::int64_t>(values.size()));
        for (const T& value : values) add(value);
    }
    void add(const Run& run) {
        add(run.begin);
        add(run.end);
    }
    void add(const Placement& placement) {
        add(to_string(placement));
        if (const auto* owners = std::get_if<Owners>(&placement)) {
            add(owners->runs);
            add(static_cast<std::int64_t>(owners->redundant));
        }
    }
    void add(const Source& source) {
        add(source.tensor);
        add(source.tensor_shape);
        add(source.param_box);
        add(source.tensor_begin);
        add(source.param_dim_of);
        add(source.scale_tensor);
    }
    template <class E>
        requires std::is_enum_v<E>
    void add(E value) {
        add(static_cast<std::int64_t>(value));
    }
    [[nodiscard]] std::uint64_t hash() const { return XXH64(text_.data(), text_.size(), 0); }

private:
    std::string text_;
};

void add_dims(Text& text, const ParallelDims& dims) {
    for (const std::int64_t degree :
         {dims.dp_replicate(), dims.dp_shard(), dims.cp(), dims.tp(), dims.pp(), dims.ep()}) {
        text.add(degree);
    }
    text.add(static_cast<std::int64_t>(dims.sequence_parallel()));
    if (dims.has_etp()) text.add(dims.etp());
}

void add_mesh(Text& text, const Mesh& mesh) {
    text.add(mesh.name());
    text.add(static_cast<std::int64_t>(mesh.axes().size()));
    for (const MeshAxis& axis : mesh.axes()) {
        text.add(name_of(axis.axis));
        text.add(axis.size);
        text.add(axis.stride);
    }
}

void add_rope(Text& text, const RopeSpec& rope) {
    text.add(rope.theta);
    text.add(rope.scaling);
    text.add(rope.factor);
    text.add(rope.max_position_embeddings);
    text.add(rope.original_max_position_embeddings);
    text.add(rope.attention_factor);
    text.add(rope.beta_fast);
    text.add(rope.beta_slow);
    text.add(rope.mscale);
    text.add(rope.mscale_all_dim);
    text.add(static_cast<std::int64_t>(rope.truncate));
    text.add(rope.low_freq_factor);
    text.add(rope.high_freq_factor);
    text.add(rope.pairs);
}

void add_attention(Text& text, const GroupedQueryAttention& spec) {
    for (const std::int64_t size : {spec.num_heads, spec.num_kv_heads, spec.head_dim}) text.add(size);
    text.add(static_cast<std::int64_t>(spec.qk_norm));
    add_rope(text, spec.rope);
}

void add_attention(Text& text, const Llama4Attention& spec) {
    for (const std::int64_t size : {spec.num_heads, spec.num_kv_heads, spec.head_dim, spec.chunk_size}) text.add(size);
    text.add(static_cast<std::int64_t>(spec.qk_norm));
    text.add(static_cast<std::int64_t>(spec.temperature.has_value()));
    if (spec.temperature) {
        text.add(spec.temperature->floor_scale);
        text.add(spec.temperature->attn_scale);
    }
    for (const std::vector<bool>* layers : {&spec.rope_layers, &spec.chunked_layers}) {
        text.add(static_cast<std::int64_t>(layers->size()));
        for (const bool layer : *layers) text.add(static_cast<std::int64_t>(layer));
    }
    add_rope(text, spec.rope);
}

void add_config(Text& text, const ModelConfig& config) {
    text.add(config.family);
    for (const std::int64_t size :
         {config.num_layers, config.hidden_size, config.vocab_size, config.dense_intermediate_size,
          config.moe_intermediate_size, config.shared_intermediate_size}) {
        text.add(size);
    }
    text.add(config.rms_norm_eps);
    text.add(static_cast<std::int64_t>(config.tie_embeddings));
    std::visit([&](const auto& spec) { add_attention(text, spec); }, config.attention);
    text.add(config.router.num_experts);
    text.add(config.router.top_k);
    text.add(config.router.score);
    text.add(static_cast<std::int64_t>(config.router.norm_topk));
    text.add(config.router.scale);
    text.add(config.router.score_on);
    text.add(config.router.choose_by);
    text.add(config.mlp);
    text.add(config.dtype);
}

}  // namespace

std::uint64_t hash_of(const Plan& plan) {
    Text text;
    add_dims(text, plan.dims);
    text.add(plan.rules);
    for (const Mesh* mesh : {&plan.meshes.dense, &plan.meshes.sparse, &plan.meshes.data}) add_mesh(text, *mesh);
    add_config(text, plan.config);
    text.add(static_cast<std::int64_t>(plan.params.size()));
    for (const ParamPlan& param : plan.params) {
        text.add(param.parameter.name);
        text.add(name_of(param.parameter.role));
        text.add(param.parameter.layer);
        text.add(param.parameter.shape);
        text.add(param.parameter.sources);
        text.add(name_of(param.dtype));
        text.add(name_of(param.placement.mesh));
        text.add(param.placement.placements);
        if (param.placement.shards) text.add(*param.placement.shards);
    }
    text.add(plan.warnings);
    for (const CoverageFault& fault : plan.contradictions) {
        text.add(fault.param);
        text.add(fault.why);
    }
    return text.hash();
}

}  // namespace shardproof
