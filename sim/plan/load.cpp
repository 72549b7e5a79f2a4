// Executes load plans: byte copies between a checkpoint's mapped tensors and a shard, in either direction.
#include <algorithm>
#include <array>
#include <cstring>

#include "oracle/model/error.hpp"
#include "sim/plan/load_plan.hpp"

namespace shardproof {
namespace {

// A loop as the copy runs it: strides of where bytes come from and where they go.
struct Stride {
    std::int64_t count = 1;
    std::int64_t from = 0;
    std::int64_t to = 0;
};

// Known sizes compile to one move each; transposed tensors are copied an element at a time.
template <std::size_t bytes>
void copy_fixed(const std::byte* from, std::byte* to, const Stride& by) {
    for (std::int64_t i = 0; i < by.count; ++i) std::memcpy(to + i * by.to, from + i * by.from, bytes);
}

void copy_row(const std::byte* from, std::byte* to, std::int64_t bytes, const Stride& by) {
    switch (bytes) {
        case 1:
            return copy_fixed<1>(from, to, by);
        case 2:
            return copy_fixed<2>(from, to, by);
        case 4:
            return copy_fixed<4>(from, to, by);
        case 8:
            return copy_fixed<8>(from, to, by);
        default:
            for (std::int64_t i = 0; i < by.count; ++i) {
                std::memcpy(to + i * by.to, from + i * by.from, static_cast<std::size_t>(bytes));
            }
    }
}

// A transpose, through a small block: whole cache lines are read and written, each once, whatever the strides.
template <std::size_t bytes>
void copy_transposed(const std::byte* from, std::byte* to, const Stride& outer, const Stride& inner) {
    constexpr std::int64_t kSide = 128 / bytes;
    constexpr std::int64_t kBytes = bytes;
    std::array<std::byte, kSide * kSide * bytes> read;
    std::array<std::byte, kSide * kSide * bytes> turned;
    for (std::int64_t i = 0; i < outer.count; i += kSide) {
        const std::int64_t rows = std::min(kSide, outer.count - i);
        for (std::int64_t j = 0; j < inner.count; j += kSide) {
            const std::int64_t cols = std::min(kSide, inner.count - j);
            for (std::int64_t c = 0; c < cols; ++c) {
                std::memcpy(read.data() + c * kSide * kBytes, from + i * kBytes + (j + c) * inner.from,
                            static_cast<std::size_t>(rows * kBytes));
            }
            for (std::int64_t r = 0; r < rows; ++r) {
                for (std::int64_t c = 0; c < cols; ++c) {
                    std::memcpy(turned.data() + (r * kSide + c) * kBytes, read.data() + (c * kSide + r) * kBytes,
                                bytes);
                }
                std::memcpy(to + (i + r) * outer.to + j * kBytes, turned.data() + r * kSide * kBytes,
                            static_cast<std::size_t>(cols * kBytes));
            }
        }
    }
}

void copy_loops(const std::byte* from, std::byte* to, std::int64_t bytes, std::span<const Stride> loops) {
    const bool is_transpose = loops.size() == 2 && loops[0].from == bytes && loops[1].to == bytes;
    if (loops.empty()) {
        std::memcpy(to, from, static_cast<std::size_t>(bytes));
    } else if (loops.size() == 1) {
        copy_row(from, to, bytes, loops[0]);
    } else if (is_transpose && bytes == 2) {
        copy_transposed<2>(from, to, loops[0], loops[1]);
    } else if (is_transpose && bytes == 4) {
        copy_transposed<4>(from, to, loops[0], loops[1]);
    } else {
        for (std::int64_t i = 0; i < loops[0].count; ++i) {
            copy_loops(from + i * loops[0].from, to + i * loops[0].to, bytes, loops.subspan(1));
        }
    }
}

// One past the last byte that a copy touches on each side. Strides are never negative.
struct Reach {
    std::int64_t source = 0;
    std::int64_t target = 0;
    std::int64_t bytes = 0;
};
Reach reach_of(const Copy& copy) {
    Reach reach{copy.source_begin + copy.bytes, copy.target_begin + copy.bytes, copy.bytes};
    for (const CopyLoop& loop : copy.loops) {
        reach.source += (loop.count - 1) * loop.source_stride_bytes;
        reach.target += (loop.count - 1) * loop.target_stride_bytes;
        reach.bytes *= loop.count;
    }
    return reach;
}

}  // namespace

std::int64_t load(const LoadPlan& plan, const Checkpoint& checkpoint, std::span<std::byte> target) {
    SP_ASSERT(static_cast<std::int64_t>(target.size()) == plan.shard_bytes());
    std::vector<std::span<const std::byte>> tensors;
    tensors.reserve(plan.tensors.size());
    for (const std::string& name : plan.tensors) {
        const TensorView view = checkpoint.tensor(name);
        SP_ASSERT(view.dtype == plan.dtype);
        tensors.push_back(view.bytes);
    }
    std::int64_t bytes = 0;
    std::vector<Stride> loops;
    for (const Copy& copy : plan.copies) {
        const std::span<const std::byte> source = tensors.at(copy.tensor_idx);
        const Reach reach = reach_of(copy);
        SP_ASSERT(copy.source_begin >= 0 && reach.source <= static_cast<std::int64_t>(source.size()));
        SP_ASSERT(copy.target_begin >= 0 && reach.target <= static_cast<std::int64_t>(target.size()));
        loops.clear();
        for (const CopyLoop& loop : copy.loops) {
            loops.push_back({loop.count, loop.source_stride_bytes, loop.target_stride_bytes});
        }
        copy_loops(source.data() + copy.source_begin, target.data() + copy.target_begin, copy.bytes, loops);
        bytes += reach.bytes;
    }
    return bytes;
}

std::int64_t store(const LoadPlan& plan, std::span<const std::byte> shard,
                   std::span<const std::span<std::byte>> tensors) {
    SP_ASSERT(static_cast<std::int64_t>(shard.size()) == plan.shard_bytes());
    SP_ASSERT(tensors.size() == plan.tensors.size());
    std::int64_t bytes = 0;
    std::vector<Stride> loops;
    for (const Copy& copy : plan.copies) {
        const std::span<std::byte> tensor = tensors[copy.tensor_idx];
        const Reach reach = reach_of(copy);
        SP_ASSERT(copy.source_begin >= 0 && reach.source <= static_cast<std::int64_t>(tensor.size()));
        SP_ASSERT(copy.target_begin >= 0 && reach.target <= static_cast<std::int64_t>(shard.size()));
        loops.clear();
        for (const CopyLoop& loop : copy.loops) {
            loops.push_back({loop.count, loop.target_stride_bytes, loop.source_stride_bytes});
        }
        copy_loops(shard.data() + copy.target_begin, tensor.data() + copy.source_begin, copy.bytes, loops);
        bytes += reach.bytes;
    }
    return bytes;
}

}  // namespace shardproof
