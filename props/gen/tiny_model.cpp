#include "props/gen/tiny_model.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <numbers>

#include "oracle/model/error.hpp"
#include "sim/prng.hpp"

namespace shardproof::props {

namespace {

// Bits of a value that f16 holds (round_to_f16).
std::uint16_t f16_bits(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (bits >> 16U) & 0x8000U;
    const float magnitude = std::fabs(value);
    if (magnitude < 0x1p-14F) return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(magnitude * 0x1p24F));
    const std::uint32_t exponent = ((bits >> 23U) & 0xFFU) - 127U + 15U;
    return static_cast<std::uint16_t>(sign | (exponent << 10U) | ((bits >> 13U) & 0x3FFU));
}

std::vector<std::byte> encoded(const std::vector<float>& values, DType dtype) {
    std::vector<std::byte> bytes(values.size() * static_cast<std::size_t>(bits_of(dtype) / 8));
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (dtype == DType::F32) {
            std::memcpy(bytes.data() + 4 * i, &values[i], 4);
            continue;
        }
        const std::uint16_t half =
            dtype == DType::F16
                ? f16_bits(round_to_f16(values[i]))
                : static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(round_to_bf16(values[i])) >> 16U);
        std::memcpy(bytes.data() + 2 * i, &half, 2);
    }
    return bytes;
}

// All that a token has in common with every other one: a large first component, which a gate row may look for.
constexpr float kCommon = 4.0F;
constexpr float kGatePull = 6.0F;

bool has_common_component(const CaseModel& m) {
    return m.routing == RoutingFlavour::all_to_one || m.routing == RoutingFlavour::some_unused;
}

std::int64_t num_unused(const CaseModel& m) {
    return std::min(m.experts - m.top_k, std::max<std::int64_t>(m.experts / 4, 1));
}

class Writer {
public:
    explicit Writer(const CaseModel& m) : m_{m}, prng_{m.seed} {}

    void matrix(const std::string& name, std::int64_t rows, std::int64_t cols, double gain = 1.0) {
        add(name, {rows, cols}, uniform(rows * cols, gain * std::sqrt(3.0 / static_cast<double>(cols)), 0.0));
    }
    // One tensor of all experts, each [in, out].
    void turned(const std::string& name, std::int64_t in, std::int64_t out, double gain) {
        add(name, {m_.experts, in, out},
            uniform(m_.experts * in * out, gain * std::sqrt(3.0 / static_cast<double>(in)), 0.0));
    }
    void norm(const std::string& name, std::int64_t size) { add(name, {size}, uniform(size, 0.25, 1.0)); }
    void embeddings(const std::string& name) {
        std::vector<float> values = uniform(m_.vocab * m_.hidden, std::numbers::sqrt3, 0.0);
        if (has_common_component(m_)) {
            for (std::int64_t v = 0; v < m_.vocab; ++v) values[static_cast<std::size_t>(v * m_.hidden)] = kCommon;
        }
        add(name, {m_.vocab, m_.hidden}, values);
    }
    void gate(const std::string& name) {
        const auto cols = static_cast<std::size_t>(m_.hidden);
        std::vector<float> values =
            uniform(m_.experts * m_.hidden, 2.0 * std::sqrt(3.0 / static_cast<double>(m_.hidden)), 0.0);
        const auto pull = [&](std::int64_t e) -> float& { return values[static_cast<std::size_t>(e) * cols]; };
        switch (m_.routing) {
            case RoutingFlavour::random:
                break;
            case RoutingFlavour::exact_ties:
                for (std::size_t e = 1; e < static_cast<std::size_t>(m_.experts); e += 2)
                    std::copy_n(values.begin() + static_cast<std::ptrdiff_t>((e - 1) * cols), cols,
                                values.begin() + static_cast<std::ptrdiff_t>(e * cols));
                break;
            case RoutingFlavour::all_to_one:
                for (std::int64_t e = 0; e < m_.experts; ++e) pull(e) = 0.0F;
                pull(hot_expert(m_).value()) = kGatePull;
                break;
            case RoutingFlavour::some_unused:
                for (std::int64_t e = m_.experts - num_unused(m_); e < m_.experts; ++e) pull(e) = -kGatePull;
                break;
        }
        add(name, {m_.experts, m_.hidden}, values);
    }

    // Dealt over the files in turn, so that what belongs together lies apart.
    [[nodiscard]] Checkpoint checkpoint() const {
        const auto num_files = std::min(static_cast<std::size_t>(m_.files), tensors_.size());
        std::vector<std::vector<std::pair<std::string, TensorView>>> files(num_files);
        for (std::size_t i = 0; i < tensors_.size(); ++i)
            files[i % num_files].emplace_back(tensors_[i].first, tensors_[i].second.view());
        std::vector<std::shared_ptr<const ByteSource>> sources;
        for (std::size_t i = 0; i < num_files; ++i)
            sources.push_back(own_bytes(to_safetensors(files[i]), "case-" + std::to_string(i) + ".safetensors"));
        return Checkpoint::from_sources(std::move(sources));
    }

private:
    std::vector<float> uniform(std::int64_t count, double half_width, double middle) {
        std::vector<float> values(static_cast<std::size_t>(count));
        const auto scale = static_cast<float>(half_width * 0x1p-23);
        const auto shift = static_cast<float>(middle);
        for (float& value : values) {
            const auto draw = static_cast<std::int32_t>(prng_.next() >> 40U) - (1 << 23);  // 24 bits, centred
            value = static_cast<float>(draw) * scale + shift;
        }
        return values;
    }
    void add(const std::string& name, Shape shape, const std::vector<float>& values) {
        tensors_.emplace_back(name, Tensor{m_.dtype, std::move(shape), encoded(values, m_.dtype)});
    }

    const CaseModel& m_;
    sim::Prng prng_;
    std::vector<std::pair<std::string, Tensor>> tensors_;
};

void write_mlp(Writer& writer, const std::string& prefix, std::int64_t hidden, std::int64_t width) {
    writer.matrix(prefix + "gate_proj.weight", width, hidden, 2.0);
    writer.matrix(prefix + "up_proj.weight", width, hidden, 2.0);
    writer.matrix(prefix + "down_proj.weight", hidden, width, 2.0);
}

// As each family publishes it.
struct Published {
    std::string prefix;  // of every tensor
    std::string block;   // of an MLP, dense or not
    std::string router;
};
Published published(const CaseModel& m) {
    if (!m.is_llama4()) return {"", "mlp.", "gate.weight"};
    return {m.family == "llama4" ? "language_model." : "", "feed_forward.", "router.weight"};
}

void write_experts(Writer& writer, const CaseModel& m, const std::string& block) {
    if (!m.is_llama4()) {
        for (std::int64_t e = 0; e < m.experts; ++e)
            write_mlp(writer, block + "experts." + std::to_string(e) + ".", m.hidden, m.moe_hidden);
        return;
    }
    writer.turned(block + "experts.gate_up_proj", m.hidden, 2 * m.moe_hidden, 2.0);
    writer.turned(block + "experts.down_proj", m.moe_hidden, m.hidden, 2.0);
    write_mlp(writer, block + "shared_expert.", m.hidden, m.shared_hidden);
}

void write_layer(Writer& writer, const CaseModel& m, const Published& names, std::int64_t layer) {
    const std::string prefix = names.prefix + "model.layers." + std::to_string(layer) + ".";
    const std::string attention = prefix + "self_attn.";
    writer.norm(prefix + "input_layernorm.weight", m.hidden);
    writer.matrix(attention + "q_proj.weight", m.heads * m.head_dim, m.hidden);
    writer.matrix(attention + "k_proj.weight", m.kv_heads * m.head_dim, m.hidden);
    writer.matrix(attention + "v_proj.weight", m.kv_heads * m.head_dim, m.hidden);
    writer.matrix(attention + "o_proj.weight", m.hidden, m.heads * m.head_dim);
    if (!m.is_llama4()) {
        writer.norm(attention + "q_norm.weight", m.head_dim);
        writer.norm(attention + "k_norm.weight", m.head_dim);
    }
    writer.norm(prefix + "post_attention_layernorm.weight", m.hidden);
    const std::string block = prefix + names.block;
    if (std::ranges::find(m.dense_layers, layer) != m.dense_layers.end()) {
        write_mlp(writer, block, m.hidden, m.dense_hidden);
        return;
    }
    writer.gate(block + names.router);
    write_experts(writer, m, block);
}

}  // namespace

ExpertId hot_expert(const CaseModel& model) {
    return ExpertId{static_cast<std::int64_t>(model.seed % static_cast<std::uint64_t>(model.experts))};
}

Model make_tiny_model(const Case& c) {
    const CaseModel& m = c.model;
    Writer writer{m};
    const Published names = published(m);
    writer.embeddings(names.prefix + "model.embed_tokens.weight");
    for (std::int64_t layer = 0; layer < m.layers; ++layer) write_layer(writer, m, names, layer);
    writer.norm(names.prefix + "model.norm.weight", m.hidden);
    if (!m.tied) writer.matrix(names.prefix + "lm_head.weight", m.vocab, m.hidden);
    return make_model("case", config_of(m), writer.checkpoint());
}

Batch make_batch(const Case& c) {
    sim::Prng prng{c.model.seed ^ 0x746f6b656e73U};
    Batch batch;
    for (const CaseSequence& sequence : c.sequences) {
        Sequence& made = batch.sequences.emplace_back();
        made.dp_idx = sequence.dp_idx;
        for (std::int64_t i = 0; i < sequence.length; ++i)
            made.ids.push_back(static_cast<std::int64_t>(prng.below(static_cast<std::uint64_t>(c.model.vocab))));
    }
    return batch;
}

}  // namespace shardproof::props
