// Loading by byte range from the page cache into warm memory, beside memcpy of the same bytes.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "oracle/model/checkpoint.hpp"
#include "sim/plan/load_plan.hpp"

namespace shardproof {
namespace {

constexpr std::int64_t kExperts = 32;
constexpr std::int64_t kWidth = 768;
constexpr std::int64_t kHidden = 2048;

// Stacked experts as published: one bf16 tensor an expert, 96 MiB in all, in a file of its own folder.
class ExpertFile {
public:
    ExpertFile() : folder_{std::filesystem::temp_directory_path() / fmt::format("shardproof-bench-{}", getpid())} {
        std::filesystem::create_directories(folder_);
        const std::vector<std::byte> expert(static_cast<std::size_t>(kWidth * kHidden * 2), std::byte{0x3C});
        std::vector<std::pair<std::string, TensorView>> tensors;
        for (std::int64_t e = 0; e < kExperts; ++e) {
            const std::string name = fmt::format("experts.{}", e);
            tensors.emplace_back(name, TensorView{DType::BF16, {kWidth, kHidden}, expert});
            parameter_.sources.push_back({.tensor = name,
                                          .tensor_shape = {kWidth, kHidden},
                                          .param_box = {{e, e + 1}, {0, kWidth}, {0, kHidden}},
                                          .tensor_begin = {0, 0},
                                          .param_dim_of = {1, 2},
                                          .scale_tensor = {}});
        }
        parameter_.name = "experts";
        parameter_.role = Role::expert_w1;
        parameter_.shape = {kExperts, kWidth, kHidden};
        write_safetensors(folder_ / "model.safetensors", tensors);
    }
    ~ExpertFile() {
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }
    ExpertFile(const ExpertFile&) = delete;
    ExpertFile& operator=(const ExpertFile&) = delete;
    [[nodiscard]] Checkpoint open() const { return Checkpoint::open(folder_); }
    [[nodiscard]] const Parameter& parameter() const { return parameter_; }

private:
    std::filesystem::path folder_;
    Parameter parameter_;
};

const ExpertFile& expert_file() {
    static const ExpertFile file;
    return file;
}

void load_shard(benchmark::State& state, const std::vector<IndexRuns>& index) {
    const Checkpoint checkpoint = expert_file().open();
    const LoadPlan plan = make_load_plan(expert_file().parameter(), DType::BF16, index);
    std::vector<std::byte> target(static_cast<std::size_t>(plan.shard_bytes()), std::byte{1});
    load(plan, checkpoint, target);  // warms the page cache and the map
    for ([[maybe_unused]] auto _ : state) {  // NOLINT(clang-analyzer-deadcode.DeadStores): the library counts with it
        benchmark::DoNotOptimize(load(plan, checkpoint, target));
        benchmark::ClobberMemory();
    }
    state.SetBytesProcessed(state.iterations() * plan.shard_bytes());
}

// A quarter of the experts, whole: what expert parallelism loads.
void LoadWholeRows(benchmark::State& state) { load_shard(state, {{{8, 16}}, {{0, kWidth}}, {{0, kHidden}}}); }
// A quarter of each expert's rows: tensor-parallel w1 and w3.
void LoadRowSlices(benchmark::State& state) {
    load_shard(state, {{{0, kExperts}}, {{kWidth / 4, kWidth / 2}}, {{0, kHidden}}});
}
// A quarter of each expert's columns: tensor-parallel w2.
void LoadColumnSlices(benchmark::State& state) {
    load_shard(state, {{{0, kExperts}}, {{0, kWidth}}, {{kHidden / 4, kHidden / 2}}});
}

// The limit: the same bytes from the same map, one memcpy an expert.
void MemcpyFromMap(benchmark::State& state) {
    const Checkpoint checkpoint = expert_file().open();
    const std::span<const std::byte> source = checkpoint.files().front().source().bytes();
    std::vector<std::byte> target(static_cast<std::size_t>(8 * kWidth * kHidden * 2), std::byte{1});
    const std::size_t offset = source.size() / 4;
    std::memcpy(target.data(), source.data() + offset, target.size());
    for ([[maybe_unused]] auto _ : state) {  // NOLINT(clang-analyzer-deadcode.DeadStores): the library counts with it
        std::memcpy(target.data(), source.data() + offset, target.size());
        benchmark::DoNotOptimize(target.data());
        benchmark::ClobberMemory();
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(target.size()));
}
// The limit from ordinary memory.
void MemcpyWarm(benchmark::State& state) {
    const std::vector<std::byte> source(static_cast<std::size_t>(8 * kWidth * kHidden * 2), std::byte{2});
    std::vector<std::byte> target(source.size(), std::byte{1});
    for ([[maybe_unused]] auto _ : state) {  // NOLINT(clang-analyzer-deadcode.DeadStores): the library counts with it
        std::memcpy(target.data(), source.data(), target.size());
        benchmark::DoNotOptimize(target.data());
        benchmark::ClobberMemory();
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(target.size()));
}

BENCHMARK(MemcpyWarm);
BENCHMARK(MemcpyFromMap);
BENCHMARK(LoadWholeRows);
BENCHMARK(LoadRowSlices);
BENCHMARK(LoadColumnSlices);

}  // namespace
}  // namespace shardproof

BENCHMARK_MAIN();
