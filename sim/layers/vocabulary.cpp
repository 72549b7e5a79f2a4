#include "sim/layers/vocabulary.hpp"

#include <algorithm>
#include <numeric>

#include "sim/plan/shard.hpp"

namespace shardproof::sim {

namespace {

// The vocabulary rows that `rank` works on once its FSDP shards are gathered.
IndexRuns vocabulary_runs(const RunContext& run, std::size_t param_idx, Rank rank) {
    const ParamPlan& param = run.plan->params[param_idx];
    const Mesh& mesh = run.plan->mesh(param.placement.mesh);
    Layout layout{.mesh = &mesh, .placements = param.placement.placements};
    layout.placements[mesh.axis_idx(Axis::fsdp)] = Replicate{};
    return shard_index(layout, param.parameter.shape, rank).front();
}

// The row of a weight that holds vocabulary entry `id`, or -1.
std::int64_t local_row(const IndexRuns& runs, std::int64_t id) {
    std::int64_t before = 0;
    for (const Run& held : runs) {
        if (id >= held.begin && id < held.end) return before + id - held.begin;
        before += held.size();
    }
    return -1;
}

Role head_role(const RunContext& run) { return run.config().tie_embeddings ? Role::tok_embeddings : Role::lm_head; }

// Pieces [n, columns of member] one after another -> [n, V].
Rows join_columns(const Rows& pieces, std::int64_t num_rows, const std::vector<IndexRuns>& columns_of,
                  std::int64_t num_columns) {
    Rows logits = make_rows(num_rows, num_columns);
    const float* from = pieces.values.data();
    for (const IndexRuns& columns : columns_of) {
        for (std::int64_t r = 0; r < num_rows; ++r) {
            for (const Run& held : columns) {
                std::copy_n(from, held.size(), logits.row(r) + held.begin);
                from += held.size();
            }
        }
    }
    return logits;
}

}  // namespace

Task<void> embedding_block(RankContext& rank, RankState& state, const RunContext& run,
                           const std::vector<std::int64_t>& ids) {
    const Weight table = co_await gathered(rank, state, run, Role::tok_embeddings);
    const IndexRuns held = vocabulary_runs(run, held_of(state, run, Role::tok_embeddings).param_idx, rank.rank());
    const std::int64_t hidden = run.config().hidden_size;
    Rows found = make_rows(static_cast<std::int64_t>(ids.size()), hidden);
    for (std::size_t t = 0; t < ids.size(); ++t) {
        const std::int64_t row = local_row(held, ids[t]);
        if (row >= 0) std::copy_n(table.all().data() + row * hidden, hidden, found.row(static_cast<std::int64_t>(t)));
    }
    if (run.sequence_parallel()) {
        const std::vector<std::int64_t> slices = slices_of(found.rows(), state.tp.size());
        state.hidden = co_await reduce_scatter_rows(rank, state.tp, found, slices, run.arithmetic, "embeddings");
    } else {
        co_await all_reduce_rows(rank, state.tp, found, run.arithmetic, "embeddings");
        state.hidden = std::move(found);
    }
    settle(state.hidden.values, run.arithmetic);
}

Task<Rows> head_block(RankContext& rank, RankState& state, const RunContext& run) {
    const ModelConfig& config = run.config();
    const Weight norm = co_await gathered(rank, state, run, Role::final_norm);
    Rows x = rms_norm(state.hidden, norm, config.rms_norm_eps, run.arithmetic);
    if (run.sequence_parallel()) {
        const std::vector<std::int64_t> slices =
            slices_of(static_cast<std::int64_t>(state.tokens.size()), state.tp.size());
        x = co_await all_gather_rows(rank, state.tp, x, slices, run.arithmetic, "head input");
    }
    const Weight head = co_await gathered(rank, state, run, head_role(run));
    Rows mine = linear(x, head, run.arithmetic);
    if (state.tp.size() == 1) co_return mine;

    const std::size_t param_idx = held_of(state, run, head_role(run)).param_idx;
    std::vector<IndexRuns> columns_of;
    std::vector<std::int64_t> counts;
    for (const Rank member : state.tp.ranks()) {
        columns_of.push_back(vocabulary_runs(run, param_idx, member));
        counts.push_back(num_indices(columns_of.back()) * x.rows());
    }
    // As one column of values: members' pieces differ in width.
    mine.cols = 1;
    const Rows pieces = co_await all_gather_rows(rank, state.tp, mine, counts, run.arithmetic, "logits");
    const Rows logits = join_columns(pieces, x.rows(), columns_of, config.vocab_size);
    if (!run.sequence_parallel()) co_return logits;
    co_return slice_rows(logits, state.slice.begin, state.slice.end);
}

}  // namespace shardproof::sim
