#include "oracle/weights.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "oracle/model/error.hpp"
#include "oracle/names.hpp"
#include "oracle/transformer.hpp"

namespace shardproof::oracle {
namespace {

TensorView checked(const Checkpoint& checkpoint, const std::string& name, const Shape& shape) {
    TensorView view = checkpoint.tensor(name);
    if (view.shape != shape) {
        throw InputError{{checkpoint.name(), name, to_string(view.shape), "shape must be " + to_string(shape)}};
    }
    return view;
}

struct MatrixSize {
    std::int64_t rows = 0;
    std::int64_t cols = 0;
};

// The tensor that `stored` names, of which the matrix is all or a part.
TensorView holder(const Checkpoint& checkpoint, const Stored& stored, MatrixSize size, std::int64_t num_experts) {
    Shape shape{size.rows * stored.parts, size.cols};
    if (stored.transposed) std::swap(shape[0], shape[1]);
    if (stored.expert) shape.insert(shape.begin(), num_experts);
    return checked(checkpoint, stored.tensor, shape);
}

// Strides in elements, of one step to the next row and column.
struct Steps {
    std::int64_t row = 0;
    std::int64_t col = 0;
};

// Square by square: a transposed matrix read column by column would miss the cache at every element.
template <std::size_t width>
void copy_elements(const std::byte* from, Steps steps, MatrixSize size, std::byte* to) {
    constexpr std::int64_t kSide = 64;
    for (std::int64_t r0 = 0; r0 < size.rows; r0 += kSide) {
        for (std::int64_t c0 = 0; c0 < size.cols; c0 += kSide) {
            for (std::int64_t r = r0; r < std::min(size.rows, r0 + kSide); ++r) {
                for (std::int64_t c = c0; c < std::min(size.cols, c0 + kSide); ++c) {
                    std::memcpy(to + static_cast<std::size_t>(r * size.cols + c) * width,
                                from + static_cast<std::size_t>(r * steps.row + c * steps.col) * width, width);
                }
            }
        }
    }
}

// The matrix taken out of its holder.
Tensor taken(const TensorView& from, const Stored& stored, MatrixSize size) {
    const auto width = static_cast<std::size_t>(bits_of(from.dtype) / 8);
    const std::int64_t all_rows = size.rows * stored.parts;
    const Steps steps = stored.transposed ? Steps{1, all_rows} : Steps{size.cols, 1};
    const std::int64_t first = stored.expert.value_or(0) * all_rows * size.cols + stored.part * size.rows * steps.row;
    Tensor matrix{from.dtype, {size.rows, size.cols}, {}};
    matrix.bytes.resize(static_cast<std::size_t>(size.rows * size.cols) * width);
    const std::byte* origin = from.bytes.data() + static_cast<std::size_t>(first) * width;
    switch (width) {
        case 2:
            copy_elements<2>(origin, steps, size, matrix.bytes.data());
            break;
        case 4:
            copy_elements<4>(origin, steps, size, matrix.bytes.data());
            break;
        default:
            SP_ASSERT(width == 8);
            copy_elements<8>(origin, steps, size, matrix.bytes.data());
    }
    return matrix;
}

bool is_all_of_its_tensor(const Stored& stored) { return !stored.expert && !stored.transposed && stored.parts == 1; }

MatrixSize size_of_expert(const ModelConfig& config, std::string_view word) {
    const std::int64_t f = config.moe_intermediate_size;
    const std::int64_t d = config.hidden_size;
    return word.ends_with(".w2") ? MatrixSize{d, f} : MatrixSize{f, d};
}

}  // namespace

TensorView Weights::tensor(std::string_view parameter, const Shape& shape) const {
    const Stored stored = oracle::stored(*config_, parameter);
    SP_ASSERT(is_all_of_its_tensor(stored));
    return checked(*checkpoint_, stored.tensor, shape);
}

TensorView Weights::in_layer(std::int64_t layer, std::string_view word, const Shape& shape) const {
    return tensor(fmt::format("layers.{}.{}", layer, word), shape);
}

TensorView Weights::embeddings() const {
    return tensor("tok_embeddings.weight", {config_->vocab_size, config_->hidden_size});
}
TensorView Weights::final_norm() const { return tensor("norm.weight", {config_->hidden_size}); }
TensorView Weights::head() const { return tensor("lm_head.weight", {config_->vocab_size, config_->hidden_size}); }

AttentionWeights Weights::attention(std::int64_t layer) const {
    const Heads heads = config_->heads();
    const std::int64_t d = config_->hidden_size;
    const std::int64_t q = heads.num_heads * heads.head_dim;
    const std::int64_t kv = heads.num_kv_heads * heads.head_dim;
    AttentionWeights weights;
    weights.norm = in_layer(layer, "attention_norm.weight", {d});
    weights.wq = in_layer(layer, "attention.wq.weight", {q, d});
    weights.wk = in_layer(layer, "attention.wk.weight", {kv, d});
    weights.wv = in_layer(layer, "attention.wv.weight", {kv, d});
    weights.wo = in_layer(layer, "attention.wo.weight", {d, q});
    const auto* const spec = std::get_if<GroupedQueryAttention>(&config_->attention);
    if (spec != nullptr && spec->qk_norm) {
        weights.q_norm = in_layer(layer, "attention.q_norm.weight", {heads.head_dim});
        weights.k_norm = in_layer(layer, "attention.k_norm.weight", {heads.head_dim});
    }
    return weights;
}

TensorView Weights::mlp_norm(std::int64_t layer) const {
    return in_layer(layer, "ffn_norm.weight", {config_->hidden_size});
}

MlpWeights Weights::mlp(std::int64_t layer, std::string_view block, std::int64_t width) const {
    const std::int64_t d = config_->hidden_size;
    const auto matrix = [&](const char* name, const Shape& shape) {
        return in_layer(layer, fmt::format("{}.{}.weight", block, name), shape);
    };
    return {matrix("w1", {width, d}), matrix("w3", {width, d}), matrix("w2", {d, width})};
}

MlpWeights Weights::feed_forward(std::int64_t layer) const {
    return mlp(layer, "feed_forward", config_->dense_intermediate_size);
}

MlpWeights Weights::shared_expert(std::int64_t layer) const {
    return mlp(layer, "moe.shared_experts", config_->shared_intermediate_size);
}

TensorView Weights::router(std::int64_t layer) const {
    return in_layer(layer, "moe.router.gate.weight", {config_->router.num_experts, config_->hidden_size});
}

MlpWeights Weights::expert(std::int64_t layer, std::int64_t expert) const {
    MlpWeights weights;
    const auto matrix = [&](const char* word) {
        const Stored stored = oracle::stored(*config_, fmt::format("layers.{}.moe.experts.{}", layer, word), expert);
        const MatrixSize size = size_of_expert(*config_, std::string{"."} + word);
        const TensorView from = holder(*checkpoint_, stored, size, config_->router.num_experts);
        if (is_all_of_its_tensor(stored)) return from;
        return weights.turned.emplace_back(std::make_shared<const Tensor>(taken(from, stored, size)))->view();
    };
    weights.gate = matrix("w1");
    weights.up = matrix("w3");
    weights.down = matrix("w2");
    return weights;
}

Tensor whole_parameter(const ModelConfig& config, const Checkpoint& checkpoint, std::string_view name) {
    if (!is_of_experts(config, name)) {
        const TensorView view = checkpoint.tensor(stored(config, name).tensor);
        return {view.dtype, view.shape, {view.bytes.begin(), view.bytes.end()}};
    }
    const MatrixSize size = size_of_expert(config, name);
    const std::int64_t num_experts = config.router.num_experts;
    Tensor whole{{}, {num_experts, size.rows, size.cols}, {}};
    for (std::int64_t e = 0; e < num_experts; ++e) {
        const Stored stored = oracle::stored(config, name, e);
        const TensorView from = holder(checkpoint, stored, size, num_experts);
        if (e == 0) {
            whole.dtype = from.dtype;
            whole.bytes.reserve(static_cast<std::size_t>(num_elements(whole.shape) * bits_of(from.dtype) / 8));
        } else if (from.dtype != whole.dtype) {
            throw InputError{{checkpoint.name(), stored.tensor, std::string{name_of(from.dtype)},
                              "dtype must be that of the other experts, " + std::string{name_of(whole.dtype)}}};
        }
        if (is_all_of_its_tensor(stored)) {
            whole.bytes.insert(whole.bytes.end(), from.bytes.begin(), from.bytes.end());
        } else {
            const Tensor matrix = taken(from, stored, size);
            whole.bytes.insert(whole.bytes.end(), matrix.bytes.begin(), matrix.bytes.end());
        }
    }
    return whole;
}

}  // namespace shardproof::oracle
