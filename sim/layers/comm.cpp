#include "sim/layers/comm.hpp"

#include <cstring>
#include <numeric>

#include "oracle/model/error.hpp"
#include "sim/plan/shard.hpp"

namespace shardproof::sim {

namespace {

DType travels_as(Arithmetic arithmetic) { return arithmetic == Arithmetic::f32 ? DType::F32 : DType::BF16; }

CollectiveCall float_call(CollectiveKind kind, const Group& group, Arithmetic arithmetic, std::span<const float> send,
                          std::span<float> receive, std::string_view what) {
    CollectiveCall call;
    call.kind = kind;
    call.group = &group;
    call.dtype = travels_as(arithmetic);
    call.element_bytes = sizeof(float);
    call.send = std::as_bytes(send);
    call.receive = std::as_writable_bytes(receive);
    call.what = what;
    return call;
}

std::vector<std::int64_t> times(const std::vector<std::int64_t>& rows, std::int64_t cols) {
    std::vector<std::int64_t> counts(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) counts[i] = rows[i] * cols;
    return counts;
}

std::int64_t sum_of(const std::vector<std::int64_t>& counts) {
    return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

// Bytes of a shard in F32, read in place: the allocator aligns them for any type.
std::span<const float> as_floats(const std::vector<std::byte>& bytes) {
    SP_ASSERT(reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(float) == 0);
    return {reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)};
}

// The pieces of all members lie one after another in `pieces`; piece m has `extents[m]` indices of dim `dim`. Joins
// them along that dim.
std::vector<std::byte> join_along(const std::vector<std::byte>& pieces, const Shape& local, std::size_t dim,
                                  const std::vector<std::int64_t>& extents, std::int64_t width_bytes) {
    std::int64_t outer = 1;
    std::int64_t inner_bytes = width_bytes;
    for (std::size_t d = 0; d < local.size(); ++d) {
        if (d < dim) outer *= local[d];
        if (d > dim) inner_bytes *= local[d];
    }
    if (outer == 1) return pieces;
    const std::int64_t row_bytes = sum_of(extents) * inner_bytes;
    std::vector<std::byte> joined(pieces.size());
    const std::byte* from = pieces.data();
    std::int64_t column = 0;
    for (const std::int64_t extent : extents) {
        const std::int64_t bytes = extent * inner_bytes;
        for (std::int64_t o = 0; o < outer && bytes > 0; ++o, from += bytes)
            std::memcpy(joined.data() + o * row_bytes + column, from, static_cast<std::size_t>(bytes));
        column += bytes;
    }
    return joined;
}

}  // namespace

Task<void> all_reduce_rows(RankContext& rank, const Group& group, Rows& rows, Arithmetic arithmetic,
                           std::string_view what) {
    if (group.size() == 1) co_return;
    const CollectiveCall call =
        float_call(CollectiveKind::all_reduce, group, arithmetic, rows.values, rows.values, what);
    co_await rank.post(call);
    settle(rows.values, arithmetic);
}

Task<Rows> all_gather_rows(RankContext& rank, const Group& group, const Rows& mine,
                           const std::vector<std::int64_t>& rows_of, Arithmetic arithmetic, std::string_view what) {
    if (group.size() == 1) co_return mine;
    const std::vector<std::int64_t> counts = times(rows_of, mine.cols);
    Rows all = make_rows(sum_of(rows_of), mine.cols);
    CollectiveCall call = float_call(CollectiveKind::all_gather, group, arithmetic, mine.values, all.values, what);
    call.receive_counts = counts;
    co_await rank.post(call);
    co_return all;
}

Task<Rows> reduce_scatter_rows(RankContext& rank, const Group& group, const Rows& partial,
                               const std::vector<std::int64_t>& rows_of, Arithmetic arithmetic, std::string_view what) {
    if (group.size() == 1) co_return partial;
    const std::vector<std::int64_t> counts = times(rows_of, partial.cols);
    Rows mine = make_rows(rows_of[group.my_idx()], partial.cols);
    CollectiveCall call =
        float_call(CollectiveKind::reduce_scatter, group, arithmetic, partial.values, mine.values, what);
    call.send_counts = counts;
    co_await rank.post(call);
    settle(mine.values, arithmetic);
    co_return mine;
}

Task<Rows> all_to_all_rows(RankContext& rank, const Group& group, const Rows& send,
                           const std::vector<std::int64_t>& rows_to, const std::vector<std::int64_t>& rows_from,
                           Arithmetic arithmetic, std::string_view what) {
    if (group.size() == 1) co_return send;
    const std::vector<std::int64_t> counts_to = times(rows_to, send.cols);
    const std::vector<std::int64_t> counts_from = times(rows_from, send.cols);
    Rows arrived = make_rows(sum_of(rows_from), send.cols);
    CollectiveCall call = float_call(CollectiveKind::all_to_all, group, arithmetic, send.values, arrived.values, what);
    call.send_counts = counts_to;
    call.receive_counts = counts_from;
    co_await rank.post(call);
    co_return arrived;
}

Task<std::vector<std::int64_t>> all_to_all_counts(RankContext& rank, const Group& group,
                                                  const std::vector<std::int64_t>& counts,
                                                  const std::vector<std::int64_t>& counts_to,
                                                  const std::vector<std::int64_t>& counts_from, std::string_view what) {
    if (group.size() == 1) co_return counts;
    std::vector<std::int64_t> arrived(static_cast<std::size_t>(sum_of(counts_from)));
    CollectiveCall call;
    call.kind = CollectiveKind::all_to_all;
    call.group = &group;
    call.dtype = DType::I64;
    call.element_bytes = sizeof(std::int64_t);
    call.send = std::as_bytes(std::span{counts});
    call.receive = std::as_writable_bytes(std::span{arrived});
    call.send_counts = counts_to;
    call.receive_counts = counts_from;
    call.what = what;
    co_await rank.post(call);
    co_return arrived;
}

const HeldParam& held_of(const RankState& state, const RunContext& run, Role role) {
    for (const HeldParam& held : state.held) {
        if (run.plan->params[held.param_idx].parameter.role == role) return held;
    }
    SP_ASSERT(!"the stage holds no parameter of this role");
    return state.held.front();
}

Task<Weight> gathered(RankContext& rank, const RankState& state, const RunContext& run, Role role) {
    const HeldParam& held = held_of(state, run, role);
    const DType dtype = run.plan->params[held.param_idx].dtype;
    const std::int64_t width = bits_of(dtype) / 8;
    const GatherPlan& plan = run.shared->gather(held.param_idx, rank.rank());
    std::vector<std::byte> whole;
    if (plan.moves) {
        std::vector<std::byte> pieces(static_cast<std::size_t>(sum_of(plan.counts) * width));
        CollectiveCall call;
        call.kind = CollectiveKind::all_gather;
        call.group = plan.axis == Axis::efsdp ? &state.efsdp : &state.fsdp;
        call.dtype = dtype;
        call.element_bytes = static_cast<std::size_t>(width);
        call.send = held.bytes;
        call.receive = pieces;
        call.receive_counts = plan.counts;
        call.what = name_of(role);
        co_await rank.post(call);
        whole = join_along(pieces, held.shape, plan.dim, plan.extents, width);
    }
    Weight weight{.shape = plan.shape};
    const std::vector<std::byte>& bytes = plan.moves ? whole : held.bytes;
    if (!plan.moves && dtype == DType::F32 && run.arithmetic == Arithmetic::f32) {
        weight.held = as_floats(bytes);
        co_return weight;
    }
    weight.values.resize(bytes.size() / static_cast<std::size_t>(width));
    SP_ASSERT(static_cast<std::int64_t>(weight.values.size()) == num_elements(weight.shape));
    widen_to_f32(dtype, bytes, weight.values);
    if (dtype != DType::BF16) settle(weight.values, run.arithmetic);
    co_return weight;
}

}  // namespace shardproof::sim
