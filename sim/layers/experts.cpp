#include "sim/layers/experts.hpp"

#include <algorithm>
#include <optional>

#include "oracle/model/error.hpp"

namespace shardproof::sim {

namespace {

// Rows of `x` in the order of the slots; with scores on the input each already multiplied by its weight.
Rows rows_to_send(const DispatchPlan& plan, const RouterSpec& router, const Rows& x, const Routing& routing,
                  Arithmetic arithmetic) {
    Rows send = make_rows(static_cast<std::int64_t>(plan.slot_token.size()), x.cols);
    for (std::size_t s = 0; s < plan.slot_token.size(); ++s) {
        const std::int64_t token = plan.slot_token[s];
        SP_ASSERT(token >= 0 && token < x.rows());
        std::copy_n(x.row(token), x.cols, send.row(static_cast<std::int64_t>(s)));
        if (router.score_on == ScoreOn::output) continue;
        const float weight = routing.weights[static_cast<std::size_t>(token * routing.top_k + plan.slot_choice[s])];
        const std::span<float> row{send.row(static_cast<std::int64_t>(s)), static_cast<std::size_t>(x.cols)};
        for (float& value : row) value *= weight;
        settle(row, arithmetic);
    }
    return send;
}

Rows weighted_sum(const DispatchPlan& plan, const RouterSpec& router, const Rows& returned, const Routing& routing,
                  std::int64_t num_rows, Arithmetic arithmetic) {
    Rows out = make_rows(num_rows, returned.cols);
    for (std::int64_t t = 0; t < num_rows; ++t) {
        float* to = out.row(t);
        for (std::int64_t k = 0; k < routing.top_k; ++k) {
            const auto choice = static_cast<std::size_t>(t * routing.top_k + k);
            const std::int64_t slot = plan.slot_of[choice];
            SP_ASSERT(slot >= 0 && slot < returned.rows());
            const float weight = router.score_on == ScoreOn::output ? routing.weights[choice] : 1.0F;
            const float* from = returned.row(slot);
            for (std::int64_t d = 0; d < out.cols; ++d) to[d] += weight * from[d];
        }
    }
    settle(out.values, arithmetic);
    return out;
}

}  // namespace

Rows run_experts(const ExpertWeights& weights, const Rows& x, const std::vector<std::int64_t>& rows_of_expert,
                 Arithmetic arithmetic) {
    const std::int64_t hidden = x.cols;
    const std::int64_t width = weights.w1.shape[1];
    SP_ASSERT(weights.w1.shape[0] == static_cast<std::int64_t>(rows_of_expert.size()));
    SP_ASSERT(weights.w1.shape[2] == hidden && weights.w2.shape[1] == hidden && weights.w2.shape[2] == width);
    SP_ASSERT(weights.w3.shape == weights.w1.shape);
    Rows out = make_rows(x.rows(), hidden);
    std::vector<float> gate;
    std::vector<float> up;
    std::int64_t first = 0;
    for (std::size_t e = 0; e < rows_of_expert.size(); ++e) {
        const std::int64_t rows = rows_of_expert[e];
        const auto matrix = static_cast<std::int64_t>(e) * width * hidden;
        gate.resize(static_cast<std::size_t>(rows * width));
        up.resize(gate.size());
        linear(x.row(first), rows, hidden, weights.w1.all().data() + matrix, width, gate.data());
        linear(x.row(first), rows, hidden, weights.w3.all().data() + matrix, width, up.data());
        settle(gate, arithmetic);
        settle(up, arithmetic);
        swiglu(gate, up, arithmetic);
        linear(gate.data(), rows, width, weights.w2.all().data() + matrix, hidden, out.row(first));
        first += rows;
    }
    SP_ASSERT(first == x.rows());
    settle(out.values, arithmetic);
    return out;
}

namespace {

// Row i of the result is row order[i] of `rows`; or the reverse.
Rows taken(const Rows& rows, const std::vector<std::int64_t>& order) {
    Rows result = make_rows(rows.rows(), rows.cols);
    for (std::int64_t r = 0; r < rows.rows(); ++r)
        std::copy_n(rows.row(order[static_cast<std::size_t>(r)]), rows.cols, result.row(r));
    return result;
}
Rows put_back(const Rows& rows, const std::vector<std::int64_t>& order) {
    Rows result = make_rows(rows.rows(), rows.cols);
    for (std::int64_t r = 0; r < rows.rows(); ++r)
        std::copy_n(rows.row(r), rows.cols, result.row(order[static_cast<std::size_t>(r)]));
    return result;
}

// The experts' answers to x, expert-major. Where `parts` share them, everyone's rows go through everyone's part and
// each gets the sums of its own.
Task<Rows> worked_by_parts(RankContext& rank, const RunContext& run, const Group& parts, const ExpertWeights& weights,
                           const Rows& x, const std::vector<std::int64_t>& rows_of_expert) {
    if (parts.size() == 1) co_return run_experts(weights, x, rows_of_expert, run.arithmetic);
    const auto num_local = static_cast<std::int64_t>(rows_of_expert.size());
    const std::vector<std::int64_t> each(parts.size(), num_local);
    std::vector<std::int64_t> mine;
    for (std::size_t i = 0; i < parts.size(); ++i)
        mine.insert(mine.end(), rows_of_expert.begin(), rows_of_expert.end());
    const std::vector<std::int64_t> all =
        co_await all_to_all_counts(rank, parts, mine, each, each, "rows of each part's experts");
    const ArrivalPlan joint = plan_arrival(all, static_cast<std::int64_t>(parts.size()), num_local);
    const Rows gathered =
        co_await all_gather_rows(rank, parts, x, joint.rows_from_peer, run.arithmetic, "rows of all parts");
    const Rows worked = run_experts(weights, taken(gathered, joint.arrival_row), joint.rows_of_expert, run.arithmetic);
    const Rows partial = put_back(worked, joint.arrival_row);
    co_return co_await reduce_scatter_rows(rank, parts, partial, joint.rows_from_peer, run.arithmetic,
                                           "sums over parts");
}

}  // namespace

Task<Rows> routed_experts(RankContext& rank, const RunContext& run, ExpertGroups groups, const ExpertMap& experts,
                          const ExpertWeights& weights, const Rows& x, const Routing& chosen, std::int64_t layer) {
    const Group& group = groups.peers;
    SP_ASSERT(static_cast<std::size_t>(experts.num_peers) == group.size());
    const RouterSpec& router = run.config().router;
    std::optional<Routing> planted;
    if (run.faults != nullptr && run.faults->on_experts)
        run.faults->on_experts(rank.rank(), layer, router, planted.emplace(chosen));
    const Routing& routing = planted ? *planted : chosen;
    DispatchPlan dispatch = plan_dispatch(experts, routing.expert_ids, routing.top_k);
    DispatchPlan combine = dispatch;
    if (run.faults != nullptr && run.faults->on_dispatch)
        run.faults->on_dispatch(rank.rank(), layer, dispatch, combine);

    // Who will send me how many rows for each of my experts.
    const auto num_local = static_cast<std::int64_t>(experts.held[group.my_idx()].size());
    std::vector<std::int64_t> counts_to;
    for (const std::vector<ExpertId>& held : experts.held) counts_to.push_back(static_cast<std::int64_t>(held.size()));
    const std::vector<std::int64_t> counts_from(group.size(), num_local);
    const std::vector<std::int64_t> arriving =
        co_await all_to_all_counts(rank, group, dispatch.rows_to_held, counts_to, counts_from, "rows of each expert");
    const ArrivalPlan arrival = plan_arrival(arriving, experts.num_peers, num_local);

    const Rows send = rows_to_send(dispatch, router, x, routing, run.arithmetic);
    const Rows arrived = co_await all_to_all_rows(rank, group, send, dispatch.rows_to_peer, arrival.rows_from_peer,
                                                  run.arithmetic, "dispatch");
    const Rows sorted = taken(arrived, arrival.arrival_row);
    const Rows worked = co_await worked_by_parts(rank, run, groups.parts, weights, sorted, arrival.rows_of_expert);
    const Rows unsorted = put_back(worked, arrival.arrival_row);

    const Rows returned = co_await all_to_all_rows(rank, group, unsorted, arrival.rows_from_peer, dispatch.rows_to_peer,
                                                   run.arithmetic, "combine");
    co_return weighted_sum(combine, router, returned, routing, x.rows(), run.arithmetic);
}

}  // namespace shardproof::sim
