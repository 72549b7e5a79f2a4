#include "sim/layers/mlp.hpp"

#include <algorithm>

#include "sim/layers/experts.hpp"
#include "sim/layers/router.hpp"
#include "sim/plan/shard.hpp"

namespace shardproof::sim {

namespace {

Routing slice_routing(const Routing& all, std::int64_t begin, std::int64_t end) {
    const std::int64_t k = all.top_k;
    return {.top_k = k,
            .expert_ids = {all.expert_ids.begin() + begin * k, all.expert_ids.begin() + end * k},
            .weights = {all.weights.begin() + begin * k, all.weights.begin() + end * k}};
}

// Partial sums over tp -> this rank's rows of the sum.
Task<Rows> reduced_over_tp(RankContext& rank, const RankState& state, const RunContext& run, Rows partial,
                           std::string_view what) {
    if (run.sequence_parallel()) {
        const std::vector<std::int64_t> slices = slices_of(partial.rows(), state.tp.size());
        co_return co_await reduce_scatter_rows(rank, state.tp, partial, slices, run.arithmetic, what);
    }
    co_await all_reduce_rows(rank, state.tp, partial, run.arithmetic, what);
    co_return partial;
}

// All rows of this rank's data-parallel share.
Task<Rows> all_rows(RankContext& rank, const RankState& state, const RunContext& run, const Rows& mine,
                    std::string_view what) {
    const std::vector<std::int64_t> slices = slices_of(static_cast<std::int64_t>(state.tokens.size()), state.tp.size());
    co_return co_await all_gather_rows(rank, state.tp, mine, slices, run.arithmetic, what);
}

void plant(const RunContext& run, const RankState& state, Rows& rows) {
    if (run.faults != nullptr && run.faults->on_mlp_rows) run.faults->on_mlp_rows(state, rows);
}

void record_routing(RankState& state, const Routing& routing) {
    state.record.expert_ids = routing.expert_ids;
    state.record.expert_weights = routing.weights;
}

}  // namespace

namespace {

struct MlpRoles {
    Role w1, w2, w3;
};

// This rank's part of a gated MLP on all rows of its data-parallel share: a partial sum over tp.
Task<Rows> gated_mlp(RankContext& rank, const RankState& state, const RunContext& run, MlpRoles roles, const Rows& x) {
    const Weight w1 = co_await gathered(rank, state, run, roles.w1);
    const Weight w3 = co_await gathered(rank, state, run, roles.w3);
    const Weight w2 = co_await gathered(rank, state, run, roles.w2);
    Rows gate = linear(x, w1, run.arithmetic);
    const Rows up = linear(x, w3, run.arithmetic);
    swiglu(gate.values, up.values, run.arithmetic);
    // A tp rank that holds none of the hidden width adds zeros: rows without columns do not know how many they are.
    co_return gate.cols == 0 ? make_rows(x.rows(), x.cols) : linear(gate, w2, run.arithmetic);
}

}  // namespace

Task<void> dense_block(RankContext& rank, RankState& state, const RunContext& run) {
    const Weight norm = co_await gathered(rank, state, run, Role::ffn_norm);
    Rows x = rms_norm(state.hidden, norm, run.config().rms_norm_eps, run.arithmetic);
    if (run.sequence_parallel()) x = co_await all_rows(rank, state, run, x, "mlp input");
    Rows partial = co_await gated_mlp(rank, state, run, {Role::ffn_w1, Role::ffn_w2, Role::ffn_w3}, x);
    plant(run, state, partial);
    const Rows out = co_await reduced_over_tp(rank, state, run, std::move(partial), "mlp output");
    add(state.hidden, out, run.arithmetic);
}

namespace {

// The routed experts' answers to this rank's rows of the stream. x [n,D] and `routing` are of the same rows, or with
// experts on the dense mesh of all rows of its data-parallel share.
Task<Rows> routed(RankContext& rank, const RankState& state, const RunContext& run, const ExpertWeights& weights,
                  const Rows& x, const Routing& routing, std::int64_t layer) {
    const ExpertMap& experts = run.shared->experts(layer);
    if (!dispatches_own_rows(*run.plan)) {
        const Group alone{"ep", {rank.rank()}, rank.rank()};
        Rows partial = co_await routed_experts(rank, run, {alone, alone}, experts, weights, x, routing, layer);
        plant(run, state, partial);
        co_return co_await reduced_over_tp(rank, state, run, std::move(partial), "moe output");
    }
    const ExpertGroups groups{state.ep, state.etp};
    if (run.sequence_parallel() || state.tp.size() == 1) {
        Rows out = co_await routed_experts(rank, run, groups, experts, weights, x, routing, layer);
        plant(run, state, out);
        co_return out;
    }
    // The rows are the same on all tp ranks: each dispatches its slice, the others' rows of the sum stay zero.
    const Rows mine = slice_rows(x, state.slice.begin, state.slice.end);
    const Routing my_routing = slice_routing(routing, state.slice.begin, state.slice.end);
    const Rows part = co_await routed_experts(rank, run, groups, experts, weights, mine, my_routing, layer);
    Rows out = make_rows(x.rows(), x.cols);
    std::ranges::copy(part.values, out.values.begin() + state.slice.begin * x.cols);
    plant(run, state, out);
    co_await all_reduce_rows(rank, state.tp, out, run.arithmetic, "moe output");
    co_return out;
}

}  // namespace

Task<void> moe_block(RankContext& rank, RankState& state, const RunContext& run, std::int64_t layer) {
    const bool own_rows = dispatches_own_rows(*run.plan);
    const bool shares = run.config().shared_intermediate_size > 0;
    const Weight norm = co_await gathered(rank, state, run, Role::ffn_norm);
    Rows x = rms_norm(state.hidden, norm, run.config().rms_norm_eps, run.arithmetic);
    if (run.sequence_parallel() && !own_rows) x = co_await all_rows(rank, state, run, x, "moe input");
    const bool x_is_a_slice = run.sequence_parallel() && own_rows;
    Rows all;  // rows of this rank's data-parallel share, where the shared expert needs more than x
    if (x_is_a_slice && shares) all = co_await all_rows(rank, state, run, x, "shared input");

    const Weight gate = co_await gathered(rank, state, run, Role::router_gate);
    Routing routing = route(run.config().router, x, gate);
    if (run.faults != nullptr && run.faults->on_routing) run.faults->on_routing(rank.rank(), layer, routing);
    const bool more_than_recorded = run.sequence_parallel() && !own_rows;
    record_routing(state, more_than_recorded ? slice_routing(routing, state.slice.begin, state.slice.end) : routing);

    ExpertWeights weights;
    weights.w1 = co_await gathered(rank, state, run, Role::expert_w1);
    weights.w3 = co_await gathered(rank, state, run, Role::expert_w3);
    weights.w2 = co_await gathered(rank, state, run, Role::expert_w2);
    Rows out = co_await routed(rank, state, run, weights, x, routing, layer);
    if (shares) {
        // Summed over tp by itself: which tp rank adds a row's routed part depends on where in the batch the row
        // stands, and the order of a row's sum must not.
        Rows partial = co_await gated_mlp(rank, state, run, {Role::shared_w1, Role::shared_w2, Role::shared_w3},
                                          x_is_a_slice ? all : x);
        add(out, co_await reduced_over_tp(rank, state, run, std::move(partial), "shared output"), run.arithmetic);
    }
    add(state.hidden, out, run.arithmetic);
}

}  // namespace shardproof::sim
