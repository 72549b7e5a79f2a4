#include "sim/plan/load_plan.hpp"

#include <algorithm>
#include <array>

#include "oracle/model/error.hpp"

namespace shardproof {
namespace {

constexpr std::size_t kDimsMax = 8;

// A piece of one dim that shard and source both have: `begin` in the parameter, `at` in the shard.
struct Piece {
    std::int64_t begin = 0;
    std::int64_t at = 0;
    std::int64_t count = 0;
};

void intersect(const IndexRuns& runs, Run box, std::vector<Piece>& pieces) {
    pieces.clear();
    std::int64_t at = 0;
    for (const Run& run : runs) {
        const std::int64_t begin = std::max(run.begin, box.begin);
        const std::int64_t end = std::min(run.end, box.end);
        if (begin < end) pieces.push_back({begin, at + (begin - run.begin), end - begin});
        at += run.size();
    }
}

// Strides of one parameter dim, in bytes. A dim that the tensor lacks has source stride 0.
struct DimStrides {
    std::int64_t source = 0;
    std::int64_t target = 0;
    std::int64_t source_origin = 0;  // byte offset of param index 0 of this dim
};
using Strides = std::array<DimStrides, kDimsMax>;

Strides strides_of(const Source& source, const Shape& local, std::int64_t element_bytes) {
    SP_ASSERT(source.param_box.size() == local.size());
    SP_ASSERT(source.tensor_shape.size() == source.param_dim_of.size());
    SP_ASSERT(source.tensor_begin.size() == source.param_dim_of.size());
    Strides strides;
    std::int64_t stride = element_bytes;
    for (std::size_t dim = local.size(); dim-- > 0;) {
        strides[dim].target = stride;
        stride *= local[dim];
    }
    stride = element_bytes;
    for (std::size_t j = source.tensor_shape.size(); j-- > 0;) {
        const std::size_t dim = source.param_dim_of[j];
        SP_ASSERT(dim < local.size() && strides[dim].source == 0);
        const std::int64_t begin = source.param_box[dim].begin;
        SP_ASSERT(source.tensor_begin[j] >= 0);
        SP_ASSERT(source.tensor_begin[j] + source.param_box[dim].size() <= source.tensor_shape[j]);
        strides[dim].source = stride;
        strides[dim].source_origin = (source.tensor_begin[j] - begin) * stride;
        stride *= source.tensor_shape[j];
    }
    for (std::size_t dim = 0; dim < local.size(); ++dim) {
        SP_ASSERT(strides[dim].source != 0 || source.param_box[dim].size() == 1);
    }
    return strides;
}

// One box as a strided copy: dims that continue each other on both sides become one loop or one run of bytes.
Copy copy_of(std::span<const Piece* const> box, const Strides& strides, std::uint32_t tensor_idx,
             std::int64_t element_bytes) {
    Copy copy;
    copy.tensor_idx = tensor_idx;
    copy.bytes = element_bytes;
    for (std::size_t dim = box.size(); dim-- > 0;) {
        const DimStrides& by = strides[dim];
        copy.source_begin += by.source_origin + box[dim]->begin * by.source;
        copy.target_begin += box[dim]->at * by.target;
        const std::int64_t count = box[dim]->count;
        if (count == 1) continue;
        if (copy.loops.empty() && by.source == copy.bytes && by.target == copy.bytes) {
            copy.bytes *= count;
        } else if (!copy.loops.empty() &&
                   by.source == copy.loops.back().source_stride_bytes * copy.loops.back().count &&
                   by.target == copy.loops.back().target_stride_bytes * copy.loops.back().count) {
            copy.loops.back().count *= count;
        } else {
            copy.loops.push_back({count, by.source, by.target});
        }
    }
    std::reverse(copy.loops.begin(), copy.loops.end());
    return copy;
}

std::uint32_t tensor_idx_of(LoadPlan& plan, const std::string& tensor) {
    if (plan.tensors.empty() || plan.tensors.back() != tensor) plan.tensors.push_back(tensor);
    return static_cast<std::uint32_t>(plan.tensors.size() - 1);
}

using PiecesOfDims = std::array<std::vector<Piece>, kDimsMax>;

// Every box of the product of the dims' pieces, outermost dim slowest.
void append_copies(LoadPlan& plan, const Source& source, const PiecesOfDims& pieces, std::int64_t element_bytes) {
    const std::size_t num_dims = plan.shape.size();
    const Strides strides = strides_of(source, plan.shape, element_bytes);
    const std::uint32_t tensor_idx = tensor_idx_of(plan, source.tensor);
    std::array<std::size_t, kDimsMax> at{};
    std::array<const Piece*, kDimsMax> box{};
    for (;;) {
        for (std::size_t dim = 0; dim < num_dims; ++dim) box[dim] = &pieces[dim][at[dim]];
        plan.copies.push_back(copy_of(std::span{box}.first(num_dims), strides, tensor_idx, element_bytes));
        std::size_t dim = num_dims;
        for (; dim > 0; --dim) {
            if (++at[dim - 1] < pieces[dim - 1].size()) break;
            at[dim - 1] = 0;
        }
        if (dim == 0) return;
    }
}

}  // namespace

LoadPlan make_load_plan(const Parameter& parameter, DType dtype, const std::vector<IndexRuns>& index) {
    SP_ASSERT(index.size() == parameter.shape.size());
    SP_ASSERT(index.size() <= kDimsMax);
    SP_ASSERT(bits_of(dtype) % 8 == 0);
    const std::int64_t element_bytes = bits_of(dtype) / 8;
    LoadPlan plan{parameter.name, dtype, local_shape(index), {}, {}};
    PiecesOfDims pieces;
    for (const Source& source : parameter.sources) {
        SP_ASSERT(source.param_box.size() == index.size());
        bool touches = true;
        for (std::size_t dim = 0; dim < index.size() && touches; ++dim) {
            intersect(index[dim], source.param_box[dim], pieces[dim]);
            touches = !pieces[dim].empty();
        }
        if (touches) append_copies(plan, source, pieces, element_bytes);
    }
    const auto earlier = [](const Copy& a, const Copy& b) { return a.target_begin < b.target_begin; };
    if (!std::is_sorted(plan.copies.begin(), plan.copies.end(), earlier)) {
        std::stable_sort(plan.copies.begin(), plan.copies.end(), earlier);
    }
    return plan;
}

LoadPlan make_load_plan(const Plan& plan, std::size_t param_idx, Rank rank) {
    const ParamPlan& param = plan.params.at(param_idx);
    return make_load_plan(param.parameter, param.dtype, shard_of(plan, param_idx, rank));
}

std::int64_t LoadPlan::shard_bytes() const { return num_elements(shape) * bits_of(dtype) / 8; }

std::int64_t LoadPlan::bytes_read() const {
    std::int64_t total = 0;
    for (const Copy& copy : copies) {
        std::int64_t bytes = copy.bytes;
        for (const CopyLoop& loop : copy.loops) bytes *= loop.count;
        total += bytes;
    }
    return total;
}

}  // namespace shardproof
