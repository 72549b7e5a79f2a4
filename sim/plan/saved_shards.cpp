#include "sim/plan/saved_shards.hpp"

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <utility>

#include "oracle/model/error.hpp"
#include "sim/plan/shard.hpp"

namespace shardproof {
namespace {

std::int64_t volume(const Box& box) {
    std::int64_t count = 1;
    for (const Run& run : box) count *= run.size();
    return count;
}

std::optional<Box> intersection(const Box& a, const Box& b) {
    Box both(a.size());
    for (std::size_t dim = 0; dim < a.size(); ++dim) {
        both[dim] = {std::max(a[dim].begin, b[dim].begin), std::min(a[dim].end, b[dim].end)};
        if (both[dim].begin >= both[dim].end) return std::nullopt;
    }
    return both;
}

// What is left of `box` without `part`, which lies in it: slabs before and after, a dim at a time.
void append_rest(Box box, const Box& part, std::vector<Box>& rest) {
    for (std::size_t dim = 0; dim < box.size(); ++dim) {
        const Run all = box[dim];
        if (all.begin < part[dim].begin) {
            box[dim] = {all.begin, part[dim].begin};
            rest.push_back(box);
        }
        if (part[dim].end < all.end) {
            box[dim] = {part[dim].end, all.end};
            rest.push_back(box);
        }
        box[dim] = part[dim];
    }
}

// A box of a shard's index, and where it begins in the shard.
struct StoredBox {
    Box box;
    std::vector<std::int64_t> begin;
};

std::vector<StoredBox> boxes_of(const std::vector<IndexRuns>& index) {
    std::vector<StoredBox> boxes{{}};
    for (const IndexRuns& runs : index) {
        std::vector<StoredBox> longer;
        longer.reserve(boxes.size() * runs.size());
        for (const StoredBox& stored : boxes) {
            std::int64_t at = 0;
            for (const Run& run : runs) {
                StoredBox next = stored;
                next.box.push_back(run);
                next.begin.push_back(at);
                if (run.size() > 0) longer.push_back(std::move(next));
                at += run.size();
            }
        }
        boxes = std::move(longer);
    }
    return boxes;
}

Source source_of(const SavedShard& shard, const Shape& shard_shape, const StoredBox& stored, Box part) {
    Source source{.tensor = shard.tensor,
                  .tensor_shape = shard_shape,
                  .param_box = std::move(part),
                  .tensor_begin = {},
                  .param_dim_of = {}};
    for (std::size_t dim = 0; dim < shard_shape.size(); ++dim) {
        source.tensor_begin.push_back(stored.begin[dim] + source.param_box[dim].begin - stored.box[dim].begin);
        source.param_dim_of.push_back(dim);
    }
    return source;
}

}  // namespace

AssembledParam assemble(const Shape& shape, std::span<const SavedShard> shards) {
    AssembledParam assembled;
    Box whole;
    for (const std::int64_t extent : shape) whole.push_back({0, extent});
    if (volume(whole) > 0) assembled.uncovered.push_back(std::move(whole));
    for (std::size_t s = 0; s < shards.size(); ++s) {
        SP_ASSERT(shards[s].index.size() == shape.size());
        const Shape shard_shape = local_shape(shards[s].index);
        std::int64_t taken = 0;
        for (const StoredBox& stored : boxes_of(shards[s].index)) {
            std::vector<Box> left;
            for (Box& box : assembled.uncovered) {
                std::optional<Box> part = intersection(box, stored.box);
                if (!part) {
                    left.push_back(std::move(box));
                    continue;
                }
                append_rest(std::move(box), *part, left);
                taken += volume(*part);
                assembled.sources.push_back(source_of(shards[s], shard_shape, stored, *std::move(part)));
            }
            assembled.uncovered = std::move(left);
        }
        if (taken != num_elements(shard_shape)) assembled.doubled.push_back(s);
    }
    return assembled;
}

namespace {

// The dims of a parameter that a source's tensor does not have: they have extent 1 there.
std::vector<std::size_t> dims_lacking(const Source& source) {
    std::vector<std::size_t> lacking;
    for (std::size_t dim = 0; dim < source.param_box.size(); ++dim) {
        if (std::ranges::find(source.param_dim_of, dim) == source.param_dim_of.end()) lacking.push_back(dim);
    }
    return lacking;
}

// The part of the published tensor of `published` that the shard of `saved` has; both are sources of one parameter, the
// second of which is not turned. The tensor's dims stand after `num_unit_dims` dims of extent 1.
std::optional<Source> part_of_tensor(const Source& published, const Source& saved, std::size_t num_unit_dims) {
    const std::optional<Box> box = intersection(published.param_box, saved.param_box);
    if (!box) return std::nullopt;
    Source part{.tensor = saved.tensor,
                .tensor_shape = saved.tensor_shape,
                .param_box = Box(num_unit_dims, Run{0, 1}),
                .tensor_begin = {},
                .param_dim_of = std::vector<std::size_t>(box->size())};
    for (std::size_t j = 0; j < published.tensor_shape.size(); ++j) {
        const std::size_t dim = published.param_dim_of[j];
        const std::int64_t begin = published.tensor_begin[j] + (*box)[dim].begin - published.param_box[dim].begin;
        part.param_box.push_back({begin, begin + (*box)[dim].size()});
        part.param_dim_of[dim] = num_unit_dims + j;
    }
    const std::vector<std::size_t> lacking = dims_lacking(published);
    for (std::size_t i = 0; i < lacking.size(); ++i) part.param_dim_of[lacking[i]] = i;
    for (std::size_t dim = 0; dim < box->size(); ++dim) {
        SP_ASSERT(saved.param_dim_of[dim] == dim);
        part.tensor_begin.push_back(saved.tensor_begin[dim] + (*box)[dim].begin - saved.param_box[dim].begin);
    }
    return part;
}

}  // namespace

std::vector<Parameter> published_tensors(std::span<const Parameter> published, std::span<const Parameter> saved) {
    SP_ASSERT(published.size() == saved.size());
    std::vector<Parameter> tensors;
    std::unordered_map<std::string, std::size_t> found;
    for (std::size_t p = 0; p < published.size(); ++p) {
        SP_ASSERT(published[p].name == saved[p].name);
        for (const Source& source : published[p].sources) {
            const std::size_t num_unit_dims = published[p].shape.size() - source.tensor_shape.size();
            const auto [place, is_new] = found.try_emplace(source.tensor, tensors.size());
            if (is_new) {
                Shape shape(num_unit_dims, 1);
                shape.insert(shape.end(), source.tensor_shape.begin(), source.tensor_shape.end());
                tensors.push_back({source.tensor, published[p].role, published[p].layer, std::move(shape), {}});
            }
            Parameter& tensor = tensors[place->second];
            SP_ASSERT(tensor.shape.size() == num_unit_dims + source.tensor_shape.size());
            for (const Source& shard : saved[p].sources) {
                if (std::optional<Source> part = part_of_tensor(source, shard, num_unit_dims)) {
                    tensor.sources.push_back(*std::move(part));
                }
            }
        }
    }
    return tensors;
}

std::int64_t num_uncovered(const Parameter& parameter) {
    std::int64_t count = num_elements(parameter.shape);
    for (const Source& source : parameter.sources) count -= volume(source.param_box);
    return count;
}

}  // namespace shardproof
