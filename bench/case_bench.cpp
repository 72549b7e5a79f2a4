// Property cases a second: a random layer-sized case made, planned, loaded, run on up to 16 ranks, judged, and put to
// every law.
#include <benchmark/benchmark.h>

#include "props/fuzz.hpp"

namespace shardproof {
namespace {

void PropertyCases(benchmark::State& state) {
    std::uint64_t seed = 0;
    std::int64_t cases = 0;
    for ([[maybe_unused]] auto _ : state) {  // NOLINT(clang-analyzer-deadcode.DeadStores): the library counts with it
        const props::FuzzReport report = props::fuzz({.seconds = {},
                                                      .cases = 500,
                                                      .seed = seed++,
                                                      .law = {},
                                                      .corpus = {},
                                                      .replay = {},
                                                      .mutants = {},
                                                      .plant = {},
                                                      .progress = {}});
        if (!report.ok) state.SkipWithError("a law was broken");
        cases += report.cases;
    }
    state.SetItemsProcessed(cases);
}
BENCHMARK(PropertyCases)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace shardproof

BENCHMARK_MAIN();
