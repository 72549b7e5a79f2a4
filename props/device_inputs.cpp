#ifdef SHARDPROOF_HAS_GPU
#include "props/device_inputs.hpp"

#include "sim/prng.hpp"
#include "sim/rank_state.hpp"

namespace shardproof::props {
namespace {

// Of a rank's tokens those whose rows it has: all, or its slice.
Run rows_held(const Plan& plan, const sim::RankState& state) {
    const bool slice = plan.dims.sequence_parallel() && plan.dims.tp() > 1;
    return slice ? state.slice : Run{0, static_cast<std::int64_t>(state.tokens.size())};
}

}  // namespace

std::vector<gpu::MoeRank> inputs_of(const StageRecord& stage, const gpu::Session& session) {
    std::vector<gpu::MoeRank> mine;
    for (const gpu::LocalRank& local : session.local_ranks()) {
        if (local.rank.idx() >= stage.ranks.size()) continue;
        gpu::MoeRank& rank = mine.emplace_back();
        rank.rank = local.rank;
        rank.hidden = stage.ranks[local.rank.idx()].hidden;
    }
    return mine;
}

std::vector<std::int64_t> rows_of(const StageRecord& stage) {
    std::vector<std::int64_t> rows;
    for (const RankRecord& record : stage.ranks) rows.push_back(static_cast<std::int64_t>(record.tokens.size()));
    return rows;
}

std::vector<std::int64_t> rows_of_ranks(const Plan& plan, const Batch& batch) {
    std::vector<std::int64_t> rows;
    for (std::int64_t r = 0; r < plan.world(); ++r)
        rows.push_back(rows_held(plan, sim::make_rank_state(plan, batch, Rank{r})).size());
    return rows;
}

Rows payload_of(const Plan& plan, const Batch& batch, Rank rank, std::uint64_t seed, std::int64_t largest) {
    const sim::RankState state = sim::make_rank_state(plan, batch, rank);
    const std::int64_t dp_idx = plan.meshes.data.coordinate(rank, Axis::batch);
    sim::Prng prng{seed * 1000003 + static_cast<std::uint64_t>(dp_idx)};
    Rows rows{.cols = plan.config.hidden_size, .values = {}};
    for (std::size_t i = 0; i < state.tokens.size() * static_cast<std::size_t>(rows.cols); ++i) {
        const auto drawn = static_cast<std::int64_t>(prng.below(static_cast<std::uint64_t>(2 * largest + 1)));
        rows.values.push_back(static_cast<float>(drawn - largest));
    }
    const Run held = rows_held(plan, state);
    rows.values = {rows.values.begin() + held.begin * rows.cols, rows.values.begin() + held.end * rows.cols};
    return rows;
}

}  // namespace shardproof::props
#endif
