// Thousands of virtual ranks running one layer of real values, and the MoE layer beside what torch's LocalTensorMode
// takes for it (bench/peers/local_tensor_moe.py prints that; bench/peers/compare.sh runs both). One thread, f32.
#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <chrono>

#include "oracle/model/error.hpp"
#include "props/gen/tiny_model.hpp"
#include "sim/forward.hpp"
#include "sim/layers/mlp.hpp"
#include "sim/plan/rules/rule_set.hpp"

namespace shardproof {
namespace {

struct Sizes {
    std::int64_t experts, top_k, hidden, expert_hidden;
};

// One layer; `tokens` a rank, as one sequence a data-parallel rank.
props::Case case_of(const Sizes& sizes, const RawDims& raw, std::int64_t tokens_a_rank) {
    props::Case c;
    c.model.hidden = sizes.hidden;
    c.model.heads = c.model.kv_heads = 4;
    c.model.head_dim = 16;
    c.model.experts = sizes.experts;
    c.model.top_k = sizes.top_k;
    c.model.moe_hidden = sizes.expert_hidden;
    c.model.vocab = 64;
    c.model.norm_topk = true;
    const std::int64_t num_dp = raw.dp_replicate * raw.dp_shard;
    for (std::int64_t dp = 0; dp < num_dp; ++dp)
        c.sequences.push_back({.dp_idx = dp, .length = tokens_a_rank * raw.tp});
    return c;
}

double peak_gib() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_maxrss) / (1 << 20);
}

// Each rank loads its shards of the layer, then attention, router, dispatch, experts and combine run. ranks, tokens a
// rank.
void LayerOfManyRanks(benchmark::State& state) {
    const std::int64_t ranks = state.range(0);
    const std::int64_t tokens = state.range(1);
    const RawDims raw{.dp_shard = ranks / 4, .tp = 4, .ep = 256, .world = {}};
    const props::Case c = case_of({.experts = 256, .top_k = 8, .hidden = 64, .expert_hidden = 32}, raw, tokens);
    const Model model = props::make_tiny_model(c);
    const Plan plan = make_plan(model, ParallelDims::parse(raw), rule_set_named("titan-train"));
    const Batch batch = props::make_batch(c);
    for ([[maybe_unused]] auto _ : state) {  // NOLINT(clang-analyzer-deadcode.DeadStores): the library counts with it
        sim::Forward forward{plan, model.checkpoint, batch, {}};
        SP_ASSERT(!forward.next().stall);  // embeddings
        const auto begun = std::chrono::steady_clock::now();
        const sim::StageOutcome layer = forward.next();
        state.SetIterationTime(std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count());
        SP_ASSERT(!layer.stall && layer.load.poison_left == 0);
        SP_ASSERT(static_cast<std::int64_t>(layer.record.ranks.back().expert_ids.size()) == 4 * tokens * 8);
    }
    state.counters["peak_GiB"] = peak_gib();
}
BENCHMARK(LayerOfManyRanks)
    ->ArgNames({"ranks", "tokens"})
    ->ArgsProduct({{1024, 2048, 4096}, {4}})
    ->ArgsProduct({{4096}, {8, 16, 32}})
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->MinTime(0.01);

// The MoE layer by itself on ranks that hold their experts: norm, router, dispatch, experts, combine, residual.
class MoeWorld {
public:
    MoeWorld(const Sizes& sizes, std::int64_t ranks, std::int64_t tokens)
        : case_{case_of(sizes, raw_of(ranks), tokens)},
          model_{props::make_tiny_model(case_)},
          plan_{make_plan(model_, ParallelDims::parse(raw_of(ranks)), rule_set_named("titan-infer"))},
          shared_{plan_} {
        run_ = {.plan = &plan_,
                .shared = &shared_,
                .arithmetic = Arithmetic::f32,
                .longest_sequence = tokens,
                .faults = nullptr};
        sim::Prng prng{1};
        const Batch batch = props::make_batch(case_);
        sim::LoadReport report;
        for (std::int64_t r = 0; r < ranks; ++r) {
            sim::RankState state = sim::make_rank_state(plan_, batch, Rank{r});
            for (std::size_t p = 0; p < plan_.params.size(); ++p) {
                if (plan_.params[p].parameter.layer)
                    state.held.push_back(sim::load_param(plan_, model_.checkpoint, p, Rank{r}, nullptr, report));
            }
            state.hidden = sim::make_rows(tokens, sizes.hidden);
            for (float& value : state.hidden.values) value = static_cast<float>(prng.below(2001)) / 1000.0F - 1.0F;
            inputs_.push_back(state.hidden);
            ranks_.push_back(std::move(state));
        }
    }

    void forward() {
        for (std::size_t r = 0; r < ranks_.size(); ++r) ranks_[r].hidden = inputs_[r];
        sim::World world{static_cast<std::int64_t>(ranks_.size()), 0};
        const auto stall =
            world.run([&](sim::RankContext& rank) { return sim::moe_block(rank, ranks_[rank.rank().idx()], run_, 0); });
        SP_ASSERT(!stall);
    }

private:
    static RawDims raw_of(std::int64_t ranks) { return {.dp_shard = ranks, .ep = ranks, .world = {}}; }

    props::Case case_;
    Model model_;
    Plan plan_;
    sim::SharedPlans shared_;
    sim::RunContext run_;
    std::vector<sim::RankState> ranks_;
    std::vector<Rows> inputs_;
};

// ranks, hidden, expert hidden, experts, tokens a rank.
void MoeLayer(benchmark::State& state) {
    const Sizes sizes{.experts = state.range(3), .top_k = 4, .hidden = state.range(1), .expert_hidden = state.range(2)};
    const auto begun = std::chrono::steady_clock::now();
    MoeWorld world{sizes, state.range(0), state.range(4)};
    world.forward();
    state.counters["setup_s"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    for ([[maybe_unused]] auto _ : state) world.forward();  // NOLINT(clang-analyzer-deadcode.DeadStores)
}
BENCHMARK(MoeLayer)
    ->ArgNames({"ranks", "dim", "hidden", "experts", "tokens"})
    ->Args({16, 64, 64, 32, 8})
    ->Args({16, 256, 512, 32, 64})
    ->Args({256, 64, 64, 512, 8})
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace shardproof

BENCHMARK_MAIN();
