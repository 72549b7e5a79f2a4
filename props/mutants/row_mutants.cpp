#include "props/mutants/row_mutants.hpp"

#include <algorithm>
#include <cmath>

#include "oracle/model/error.hpp"
#include "sim/plan/shard.hpp"
#include "sim/rank_state.hpp"

namespace shardproof::props::mutant {

namespace {

Planted with_rows(std::function<void(const sim::RankState&, Rows&)> on_mlp_rows) {
    Planted planted;
    planted.faults.on_mlp_rows = std::move(on_mlp_rows);
    return planted;
}

// Every tp rank has all rows of its group, and their sum is made.
bool sums_over_tp(const Healthy& healthy) {
    return healthy.plan.dims.tp() > 1 && !healthy.plan.dims.sequence_parallel();
}

// By how many rows a rank's slice is shorter than the longest of its tp group.
std::int64_t missing_rows(const sim::RankState& state) {
    return chunk(std::ssize(state.tokens), std::ssize(state.tp.ranks()), 0).size() - state.slice.size();
}

}  // namespace

std::optional<Planted> replicated_term_before_the_sum(const Healthy& healthy) {
    if (!sums_over_tp(healthy) || healthy.batch.num_tokens() == 0) return std::nullopt;
    return with_rows([](const sim::RankState& state, Rows& rows) {
        // The block adds it once after the sum; the other ranks' copies are what is too many.
        if (state.tp.my_idx() == 0) return;
        SP_ASSERT(rows.values.size() == state.hidden.values.size());
        for (std::size_t i = 0; i < rows.values.size(); ++i) rows.values[i] += state.hidden.values[i];
    });
}

std::optional<Planted> scale_over_pad_rows(const Healthy&) {
    return with_rows([](const sim::RankState&, Rows& rows) {
        float largest = 0;
        for (const float value : rows.values) {
            if (!(std::abs(value) <= largest)) largest = std::abs(value);
            if (std::isnan(value)) break;
        }
        // Powers of two leave finite rows as they are.
        const float scale = std::isfinite(largest) ? 1.0F : largest;
        for (float& value : rows.values) value = value / scale * scale;
    });
}

std::optional<Planted> filling_rows_joined(const Healthy& healthy) {
    const Plan& plan = healthy.plan;
    if (plan.dims.tp() == 1 || !dispatches_own_rows(plan) || !plan.config.first_moe_layer()) return std::nullopt;
    bool any_short = false;
    for (std::int64_t r = 0; r < plan.world(); ++r) {
        const sim::RankState state = sim::make_rank_state(plan, healthy.batch, Rank{r});
        any_short = any_short || (state.slice.size() > 0 && missing_rows(state) > 0);
    }
    if (!any_short) return std::nullopt;
    return with_rows([](const sim::RankState& state, Rows& rows) {
        const bool is_moe = !state.record.expert_ids.empty();
        if (!is_moe || state.slice.size() == 0) return;
        const bool slice_only = rows.rows() == state.slice.size();
        float* const last = rows.row((slice_only ? state.slice.size() : state.slice.end) - 1);
        for (std::int64_t d = 0; d < rows.cols; ++d) last[d] *= static_cast<float>(1 + missing_rows(state));
    });
}

std::optional<Planted> rows_not_cleared(const Healthy& healthy) {
    if (!sums_over_tp(healthy) || healthy.plan.dims.ep() == 1) return std::nullopt;
    return with_rows([](const sim::RankState& state, Rows& rows) {
        if (rows.rows() != static_cast<std::int64_t>(state.tokens.size())) return;
        constexpr float kLeftOver = 0.75F;
        for (std::int64_t r = 0; r < rows.rows(); ++r) {
            if (r < state.slice.begin || r >= state.slice.end) std::fill_n(rows.row(r), rows.cols, kLeftOver);
        }
    });
}

}  // namespace shardproof::props::mutant
