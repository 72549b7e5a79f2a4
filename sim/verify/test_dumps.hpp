// For tests: checkpoints of plain numbers, dumps of them under several programs' names, and faults to plant. Shards are
// assembled element by element and renamed here, not by what is tested.
#pragma once
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sim/plan/test_tensors.hpp"
#include "sim/verify/verify.hpp"

namespace shardproof::verify::testing {

using shardproof::testing::Bytes;
using shardproof::testing::Sizes;
using shardproof::testing::Tensors;

inline void append_f32(DType dtype, float value, Bytes& bytes) {
    const auto add = [&](auto number) {
        const auto* const begin = reinterpret_cast<const std::byte*>(&number);
        bytes.insert(bytes.end(), begin, begin + sizeof number);
    };
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if (dtype == DType::F32) return add(value);
    if (dtype == DType::F64) return add(static_cast<double>(value));
    if (dtype == DType::BF16) return add(static_cast<std::uint16_t>(bits >> 16));
    SP_ASSERT(dtype == DType::F16);  // normal values of ten fraction bits
    const std::uint32_t exponent = (bits >> 23 & 0xFFU) - 112U;
    add(static_cast<std::uint16_t>((bits >> 16 & 0x8000U) | exponent << 10 | (bits >> 13 & 0x3FFU)));
}

inline std::vector<float> floats_of(const Tensor& tensor) {
    std::vector<float> values(static_cast<std::size_t>(num_elements(tensor.shape)));
    widen_to_f32(tensor.dtype, tensor.bytes, values);
    return values;
}
inline Tensor tensor_of(DType dtype, Shape shape, const std::vector<float>& values) {
    Tensor tensor{dtype, std::move(shape), {}};
    for (const float value : values) append_f32(dtype, value, tensor.bytes);
    return tensor;
}

// Numbers between 2^-7 and 1 in size with seven fraction bits: exact in BF16, F16 and F32, distinct enough by line.
inline Tensors numbers_for(const std::vector<Parameter>& parameters, DType dtype, std::uint64_t seed = 1) {
    Tensors tensors;
    std::uint64_t state = seed;
    for (const Parameter& parameter : parameters) {
        for (const Source& source : parameter.sources) {
            if (tensors.contains(source.tensor)) continue;
            std::vector<float> values(static_cast<std::size_t>(num_elements(source.tensor_shape)));
            for (float& value : values) {
                state = state * 6364136223846793005U + 1442695040888963407U;
                const std::uint64_t random = state >> 33U;
                const auto bits = static_cast<std::uint32_t>(
                    (random & 1U) << 31U | (120U + (random >> 1U) % 7U) << 23U | (random >> 8U & 0x7FU) << 16U);
                value = std::bit_cast<float>(bits);
            }
            tensors.emplace(source.tensor, tensor_of(dtype, source.tensor_shape, values));
        }
    }
    return tensors;
}

// Degrees as tests write them.
struct Degrees {
    std::int64_t dp_replicate = 1, dp_shard = 1, tp = 1, ep = 1;
    [[nodiscard]] ParallelDims dims(bool takes_etp) const {
        RawDims raw;
        raw.dp_replicate = dp_replicate;
        raw.dp_shard = dp_shard;
        raw.tp = tp;
        raw.ep = ep;
        if (takes_etp) raw.etp = tp;
        return ParallelDims::parse(raw);
    }
};

using RankDump = std::map<std::string, Tensor>;
using WholeDump = std::vector<RankDump>;

class World {
public:
    World(const Sizes& sizes, const Degrees& dims, const std::string& rules = "titan-infer", DType dtype = DType::BF16)
        : World(shardproof::testing::config_of(sizes), shardproof::testing::parameters_of(sizes), dims, rules, dtype) {}
    World(const ModelConfig& config, const std::vector<Parameter>& parameters, const Degrees& dims,
          const std::string& rules, DType dtype)
        : World(config, parameters, dims, rules, dtype, numbers_for(parameters, dtype)) {}
    World(const ModelConfig& config, const std::vector<Parameter>& parameters, const Degrees& dims,
          const std::string& rules, DType dtype, Tensors numbers)
        : tensors{std::move(numbers)}, file_{shardproof::testing::file_of(tensors)} {
        plan = std::make_unique<Plan>(make_plan(config, parameters, std::vector<DType>(parameters.size(), dtype),
                                                dims.dims(rule_set_named(rules).takes_etp), rule_set_named(rules)));
        checkpoint = std::make_unique<Checkpoint>(shardproof::testing::checkpoint_of(file_));
    }

    [[nodiscard]] std::size_t idx(const std::string& name) const { return plan->param_idx(name); }
    [[nodiscard]] Tensor shard(std::size_t p, const std::vector<IndexRuns>& index) const {
        const ParamPlan& param = plan->params[p];
        return {param.dtype, local_shape(index),
                shardproof::testing::expected_shard(param.parameter, tensors, param.dtype, index)};
    }
    [[nodiscard]] Tensor shard(const std::string& name, std::int64_t rank) const {
        return shard(idx(name), shard_of(*plan, idx(name), Rank{rank}));
    }
    // As `load` writes it.
    [[nodiscard]] WholeDump dump() const {
        WholeDump all(static_cast<std::size_t>(plan->world()));
        for (std::size_t p = 0; p < plan->params.size(); ++p) {
            for (std::size_t r = 0; r < all.size(); ++r)
                all[r].emplace(plan->params[p].parameter.name,
                               shard(p, shard_of(*plan, p, Rank{static_cast<std::int64_t>(r)})));
        }
        return all;
    }
    // As if `wrong` said what ranks hold; nullopt: as planned. Tensors have whatever shape that is.
    [[nodiscard]] WholeDump dump_by(
        const std::function<std::optional<std::vector<IndexRuns>>(std::size_t, Rank)>& wrong) const {
        WholeDump all = dump();
        for (std::size_t p = 0; p < plan->params.size(); ++p) {
            for (std::size_t r = 0; r < all.size(); ++r) {
                if (const auto index = wrong(p, Rank{static_cast<std::int64_t>(r)}))
                    all[r][plan->params[p].parameter.name] = shard(p, *index);
            }
        }
        return all;
    }

    [[nodiscard]] Report report(const WholeDump& dump, const NameRows* names = nullptr, bool cut = false) const {
        std::vector<SafetensorsFile> files;
        for (std::size_t r = 0; r < dump.size(); ++r) {
            std::vector<std::pair<std::string, TensorView>> views;
            for (const auto& [name, tensor] : dump[r]) views.emplace_back(name, tensor.view());
            files.emplace_back(own_bytes(to_safetensors(views), rank_file(Rank{static_cast<std::int64_t>(r)})));
        }
        const Dump opened = Dump::of_files(files);
        const NameRows& rows = names != nullptr ? *names : guess_names(*plan, opened);
        return verify({.plan = *plan, .checkpoint = *checkpoint, .dump = opened, .names = rows, .is_cut_model = cut});
    }

    std::unique_ptr<Plan> plan;
    std::unique_ptr<Checkpoint> checkpoint;
    Tensors tensors;

private:
    Bytes file_;
};

// Rows of tensors [.., rows, cols] one after the other; shapes differ in rows alone.
inline Tensor rows_joined(const std::vector<Tensor>& parts) {
    const Shape& like = parts.front().shape;
    const std::size_t dim = like.size() - 2;
    Tensor out{parts.front().dtype, like, {}};
    out.shape[dim] = 0;
    for (const Tensor& part : parts) out.shape[dim] += part.shape[dim];
    const std::int64_t leading = like.size() == 3 ? like[0] : 1;
    for (std::int64_t i = 0; i < leading; ++i) {
        for (const Tensor& part : parts) {
            const std::size_t each = leading == 0 ? 0 : part.bytes.size() / static_cast<std::size_t>(leading);
            const auto begin = part.bytes.begin() + static_cast<std::ptrdiff_t>(each) * i;
            out.bytes.insert(out.bytes.end(), begin, begin + static_cast<std::ptrdiff_t>(each));
        }
    }
    return out;
}

// The last two dims swapped, the bytes with them.
inline Tensor turned(const Tensor& tensor) {
    const std::size_t n = tensor.shape.size();
    const std::int64_t rows = tensor.shape[n - 2];
    const std::int64_t cols = tensor.shape[n - 1];
    const std::size_t element = shardproof::testing::bytes_of(tensor.dtype);
    Tensor out = tensor;
    std::swap(out.shape[n - 2], out.shape[n - 1]);
    const auto matrix = static_cast<std::size_t>(rows * cols) * element;
    for (std::size_t begin = 0; matrix > 0 && begin < tensor.bytes.size(); begin += matrix) {
        for (std::int64_t r = 0; r < rows; ++r) {
            for (std::int64_t c = 0; c < cols; ++c) {
                std::memcpy(out.bytes.data() + begin + static_cast<std::size_t>(c * rows + r) * element,
                            tensor.bytes.data() + begin + static_cast<std::size_t>(r * cols + c) * element, element);
            }
        }
    }
    return out;
}

inline Tensor slice_of(const Tensor& stacked, std::int64_t slot) {
    const auto each = static_cast<std::ptrdiff_t>(stacked.bytes.size()) / stacked.shape[0];
    return {stacked.dtype,
            {stacked.shape[1], stacked.shape[2]},
            {stacked.bytes.begin() + each * slot, stacked.bytes.begin() + each * (slot + 1)}};
}

inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const std::size_t at = text.find(from);
    if (at != std::string::npos) text.replace(at, from.size(), to);
    return text;
}

// A rank's tensors under Hugging Face names, `experts` being those that it holds, by layer.
inline RankDump under_hf_names(const RankDump& ours, const World& world, std::int64_t rank) {
    static const std::map<std::string, std::string> kNames{{"tok_embeddings.weight", "model.embed_tokens.weight"},
                                                           {"norm.weight", "model.norm.weight"},
                                                           {"attention_norm", "input_layernorm"},
                                                           {"ffn_norm", "post_attention_layernorm"},
                                                           {"attention.wq", "self_attn.q_proj"},
                                                           {"attention.wk", "self_attn.k_proj"},
                                                           {"attention.wv", "self_attn.v_proj"},
                                                           {"attention.wo", "self_attn.o_proj"},
                                                           {"attention.q_norm", "self_attn.q_norm"},
                                                           {"attention.k_norm", "self_attn.k_norm"},
                                                           {"feed_forward.w1", "mlp.gate_proj"},
                                                           {"feed_forward.w2", "mlp.down_proj"},
                                                           {"feed_forward.w3", "mlp.up_proj"},
                                                           {"moe.router.gate", "mlp.gate"}};
    static const std::map<std::string, std::string> kExperts{
        {"moe.experts.w1", "gate_proj"}, {"moe.experts.w2", "down_proj"}, {"moe.experts.w3", "up_proj"}};
    RankDump theirs;
    for (const auto& [name, tensor] : ours) {
        if (name == "lm_head.weight" || name == "tok_embeddings.weight" || name == "norm.weight") {
            theirs.emplace(name == "lm_head.weight" ? name : kNames.at(name), tensor);
            continue;
        }
        const std::size_t at = name.find('.', 7) + 1;  // behind "layers.L."
        const std::string layer = "model." + name.substr(0, at);
        const std::string own = name.substr(at);
        if (const auto expert = kExperts.find(own); expert != kExperts.end()) {
            const std::vector<IndexRuns> index = shard_of(*world.plan, world.idx(name), Rank{rank});
            std::int64_t slot = 0;
            for (const Run& run : index[0]) {
                for (std::int64_t e = run.begin; e < run.end && slot < tensor.shape[0]; ++e)
                    theirs.emplace(layer + "mlp.experts." + std::to_string(e) + "." + expert->second + ".weight",
                                   slice_of(tensor, slot++));
            }
        } else {
            const std::string word = own.substr(0, own.rfind('.'));
            theirs.emplace(layer + kNames.at(word) + ".weight", tensor);
        }
    }
    return theirs;
}

// The published names, experts stacked with gate and up in one: [E,2F,D], or turned [E,D,2F].
inline RankDump with_stacked_experts(const RankDump& ours, RankDump hf, bool is_turned) {
    std::erase_if(hf, [](const auto& entry) { return entry.first.find(".mlp.experts.") != std::string::npos; });
    for (const auto& [name, tensor] : ours) {
        if (!name.ends_with("moe.experts.w1")) continue;
        const std::string stem = name.substr(0, name.size() - 2);
        const std::string theirs = "model." + replaced(stem, "moe.", "mlp.");
        const Tensor gate_up = rows_joined({tensor, ours.at(stem + "w3")});
        const Tensor& down = ours.at(stem + "w2");
        hf.emplace(theirs + "gate_up_proj", is_turned ? turned(gate_up) : gate_up);
        hf.emplace(theirs + "down_proj", is_turned ? turned(down) : down);
    }
    return hf;
}

// vLLM's: its fusions instead of what they are made of.
inline RankDump under_vllm_names(const RankDump& ours, const RankDump& hf) {
    RankDump theirs = hf;
    std::erase_if(theirs, [](const auto& entry) {
        const std::string& name = entry.first;
        return name.find(".mlp.experts.") != std::string::npos || name.ends_with("q_proj.weight") ||
               name.ends_with("k_proj.weight") || name.ends_with("v_proj.weight") ||
               name.ends_with("mlp.gate_proj.weight") || name.ends_with("mlp.up_proj.weight");
    });
    for (const auto& [name, tensor] : ours) {
        const std::string model = "model." + name;
        if (name.ends_with("attention.wq.weight")) {
            const std::string stem = name.substr(0, name.size() - 9);
            theirs.emplace(replaced(model, "attention.wq.weight", "self_attn.qkv_proj.weight"),
                           rows_joined({tensor, ours.at(stem + "wk.weight"), ours.at(stem + "wv.weight")}));
        } else if (name.ends_with("feed_forward.w1.weight")) {
            theirs.emplace(replaced(model, "feed_forward.w1", "mlp.gate_up_proj"),
                           rows_joined({tensor, ours.at(replaced(name, "w1", "w3"))}));
        } else if (name.ends_with("moe.experts.w1")) {
            theirs.emplace(replaced(model, "moe.experts.w1", "mlp.experts.w13_weight"),
                           rows_joined({tensor, ours.at(replaced(name, "w1", "w3"))}));
        } else if (name.ends_with("moe.experts.w2")) {
            theirs.emplace(replaced(model, "moe.experts.w2", "mlp.experts.w2_weight"), tensor);
        }
    }
    return theirs;
}

// TorchTitan's own, of releases with shape suffixes and qkv_linear.
inline RankDump under_titan_names(const RankDump& ours) {
    RankDump theirs;
    for (const auto& [name, tensor] : ours) {
        std::string own = name;
        for (const char* const w : {"wq.", "wk.", "wv."})
            own = replaced(own, std::string{"attention."} + w, std::string{"attention.qkv_linear."} + w);
        own = replaced(own, "moe.experts.w1", "moe.routed_experts.inner_experts.w1_EFD");
        own = replaced(own, "moe.experts.w2", "moe.routed_experts.inner_experts.w2_EDF");
        own = replaced(own, "moe.experts.w3", "moe.routed_experts.inner_experts.w3_EFD");
        if (own.ends_with("moe.expert_bias")) own += "_E";
        theirs.emplace(own, tensor);
    }
    return theirs;
}

inline Tensor as_dtype(const Tensor& tensor, DType dtype) { return tensor_of(dtype, tensor.shape, floats_of(tensor)); }

}  // namespace shardproof::verify::testing
