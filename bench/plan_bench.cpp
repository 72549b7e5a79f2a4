// Planning a published model at full size: who holds what, the proof of coverage, bytes a rank.
#include <benchmark/benchmark.h>

#include <string>

#include "oracle/model/config.hpp"
#include "oracle/model/error.hpp"
#include "oracle/model/family.hpp"
#include "sim/plan/plan.hpp"

namespace shardproof {
namespace {

// The sizes of Qwen3-235B-A22B.
ModelConfig large_config() {
    ModelConfig config;
    config.family = "qwen3_moe";
    config.num_layers = 94;
    config.hidden_size = 4096;
    config.vocab_size = 151936;
    config.dense_intermediate_size = 12288;
    config.moe_intermediate_size = 1536;
    config.grouped_query().num_heads = 64;
    config.grouped_query().num_kv_heads = 4;
    config.grouped_query().head_dim = 128;
    config.grouped_query().qk_norm = true;
    config.router.num_experts = 128;
    config.router.top_k = 8;
    config.router.norm_topk = true;
    config.mlp.assign(94, MlpKind::moe);
    return config;
}

void plan_at(benchmark::State& state, const RawDims& raw, std::string_view rules) {
    const ModelConfig config = large_config();
    const std::vector<Parameter> parameters = family_of(config).parameters(config);
    const std::vector<DType> dtypes(parameters.size(), DType::BF16);
    const ParallelDims dims = ParallelDims::parse(raw);
    for ([[maybe_unused]] auto _ : state) {  // NOLINT(clang-analyzer-deadcode.DeadStores): the library counts with it
        const Plan plan = make_plan(config, parameters, dtypes, dims, rule_set_named(rules));
        SP_ASSERT(coverage_violations(plan).empty());
        benchmark::DoNotOptimize(bytes_per_rank(plan).data());
    }
    state.counters["ranks"] = static_cast<double>(dims.world());
}

void PlanInfer64Ranks(benchmark::State& state) {
    plan_at(state, {.dp_shard = 16, .tp = 4, .ep = 64, .world = {}}, "titan-infer");
}
void PlanTrain16384Ranks(benchmark::State& state) {
    plan_at(state, {.dp_replicate = 16, .dp_shard = 256, .tp = 4, .ep = 128, .world = {}}, "titan-train");
}
BENCHMARK(PlanInfer64Ranks)->Unit(benchmark::kMillisecond);
BENCHMARK(PlanTrain16384Ranks)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace shardproof

BENCHMARK_MAIN();
