// The MoE layer and its stages on one GPU at Qwen3-30B-A3B's shape: checked against the oracle, then timed with CUDA
// events on a cold L2, beside limits measured in the same run. One JSON line a row, to standard output or appended to
// --out FILE.
//     moe_layer_bench [--smoke] [--out FILE]
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iostream>
#include <map>
#include <numbers>
#include <sstream>
#include <string>

#include "bench/gpu/limits.hpp"
#include "bench/gpu/stages.hpp"
#include "bench/gpu/timing.hpp"
#include "gpu/kernels/elementwise.cuh"
#include "gpu/moe_layer.hpp"
#include "gpu/session.hpp"
#include "gpu/transport/nccl_library.hpp"
#include "oracle/judge.hpp"
#include "oracle/model/error.hpp"
#include "props/gen/tiny_model.hpp"
#include "reports/json.hpp"
#include "sim/prng.hpp"

namespace shardproof::bench {
namespace {

constexpr std::uint64_t kSeed = 1;

props::Case case_of(bool smoke) {
    props::Case c;
    c.model = {.hidden = smoke ? 256 : 2048,
               .layers = 1,
               .heads = 1,
               .kv_heads = 1,
               .head_dim = 2,
               .experts = smoke ? 16 : 128,
               .top_k = smoke ? 4 : 8,
               .moe_hidden = smoke ? 96 : 768,
               .dense_hidden = 1,
               .vocab = 8,
               .norm_topk = true,
               .dense_layers = {},
               .dtype = DType::BF16,
               .seed = kSeed};
    c.layout = {.rules = "titan-infer"};
    return c;
}

// Rows of unit variance that bf16 holds, a function of seed and place.
std::vector<float> random_rows(std::int64_t count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    sim::Prng prng{kSeed + 99};
    for (float& value : values)
        value =
            round_to_bf16((static_cast<float>(prng.below(1U << 20U)) * 0x1p-19F - 1.0F) * std::numbers::sqrt3_v<float>);
    return values;
}

class Bench {
public:
    Bench(bool smoke, std::ostream& out)
        : out_{out},
          case_{case_of(smoke)},
          model_{props::make_tiny_model(case_)},
          plan_{make_plan(model_, props::dims_of(case_.layout), rule_set_named(case_.layout.rules))},
          session_{{.transport = "loopback", .world = 1, .deadline_s = 60}, {}},
          ledger_{session_.transport(), session_.local_ranks(), 60, nullptr},
          layer_{plan_,  session_.transport(), ledger_, session_.local_ranks(), gpu::dispatcher_named("send-receive"),
                 "auto", Arithmetic::bf16},
          cold_{stream()} {
        gpu::Staging staging;
        layer_.work(0).weights.load(plan_, model_.checkpoint, 0, session_.local_ranks()[0], staging, nullptr);
        ledger_.wait();
        limits_ = measure_limits(stream());
        std::cerr << fmt::format("{}: copy {:.2f} TB/s, bf16 8192^3 {:.0f} TFLOP/s by {}, a launch {:.1f} us\n",
                                 session_.describe(), limits_.copy_bytes_per_second * 1e-12,
                                 limits_.bf16_flops_per_second * 1e-12, limits_.gemm_by, limits_.launch_seconds * 1e6);
    }

    void run(std::int64_t tokens, int repetitions) {
        shape_ = {.tokens = tokens,
                  .hidden = case_.model.hidden,
                  .moe_hidden = case_.model.moe_hidden,
                  .experts = case_.model.experts,
                  .top_k = case_.model.top_k};
        const std::vector<float> rows = random_rows(tokens * shape_.hidden);
        layer_.on_stage = {};
        layer_.prepare(0, std::array{tokens});
        put(rows);
        layer_.gather_weights();
        layer_.run();
        ledger_.wait();
        const double ratio = check_sample(rows);
        report(timed(repetitions), ratio);
    }

private:
    [[nodiscard]] gpu::StreamView stream() const { return session_.local_ranks()[0].stream; }

    void put(const std::vector<float>& rows) {
        const gpu::RankWork& work = layer_.work(0);
        gpu::upload(std::as_bytes(std::span{rows}), work.upload.data(), stream());
        gpu::convert(work.upload.data(), DType::F32, work.hidden.data(), Arithmetic::bf16,
                     static_cast<std::int64_t>(rows.size()), stream());
    }

    template <class T>
    std::vector<T> row_of(const void* data, std::int64_t row, std::int64_t cols) {
        std::vector<T> values(static_cast<std::size_t>(cols));
        gpu::download(static_cast<const T*>(data) + row * cols, std::as_writable_bytes(std::span{values}), stream());
        gpu::check(cudaStreamSynchronize(stream().raw()));
        return values;
    }

    // Eight tokens of the batch, judged as a batch of their own: no token of an MoE layer knows of another.
    double check_sample(const std::vector<float>& rows) {
        const gpu::RankWork& work = layer_.work(0);
        const std::int64_t d = shape_.hidden;
        const std::int64_t count = std::min<std::int64_t>(8, shape_.tokens);
        StageRecord stage{.kind = StageKind::layer, .layer = 0, .ranks = {RankRecord{}}};
        RankRecord& record = stage.ranks[0];
        record.hidden.cols = record.output.cols = d;
        Batch batch;
        batch.sequences = {Sequence{std::vector<std::int64_t>(static_cast<std::size_t>(count), 0), 0}};
        for (std::int64_t i = 0; i < count; ++i) {
            const std::int64_t token = count == 1 ? 0 : i * (shape_.tokens - 1) / (count - 1);
            record.tokens.emplace_back(i);
            record.hidden.values.insert(record.hidden.values.end(), rows.begin() + token * d,
                                        rows.begin() + (token + 1) * d);
            for (const std::int32_t id : row_of<std::int32_t>(work.ids.data(), token, shape_.top_k))
                record.expert_ids.emplace_back(id);
            for (const float weight : row_of<float>(work.routing_weights.data(), token, shape_.top_k))
                record.expert_weights.push_back(weight);
            for (const std::uint16_t half : row_of<std::uint16_t>(work.output.data(), token, d))
                record.output.values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16U));
        }
        const oracle::Judge judge{model_.config, model_.checkpoint, batch, Arithmetic::bf16};
        const LayerVerdict verdict = judge.judge_mlp(stage);
        if (!verdict.ok) {
            throw BugError{fmt::format("T {}: the layer is wrong: {}, got {}, want {}, bound {}", shape_.tokens,
                                       verdict.failure->why, verdict.failure->got, verdict.failure->want,
                                       verdict.failure->bound)};
        }
        return verdict.max_ratio;
    }

    std::map<std::string, Spread> timed(int repetitions) {
        std::map<std::string, std::vector<double>> seconds;
        for (int i = -2; i < repetitions; ++i) {  // two to warm up
            std::vector<std::pair<std::string, gpu::Event>> marks;
            const auto mark = [&](std::string_view name) {
                gpu::Event& event = marks.emplace_back(std::string{name}, gpu::Event{gpu::Timing::on}).second;
                event.record(stream());
            };
            cold_.flush();
            mark("begin");
            layer_.on_stage = mark;
            layer_.run();
            ledger_.wait();
            if (i < 0) continue;
            seconds["layer"].push_back(marks.back().second.milliseconds_since(marks.front().second) * 1e-3);
            std::map<std::string, double> of_stage;
            for (std::size_t m = 1; m < marks.size(); ++m) {
                // Placing the choices is part of permuting rows.
                const std::string name = marks[m].first == "plan" ? "permute" : marks[m].first;
                of_stage[name] += marks[m].second.milliseconds_since(marks[m - 1].second) * 1e-3;
            }
            for (const auto& [name, time] : of_stage) seconds[name].push_back(time);
        }
        layer_.on_stage = {};
        std::map<std::string, Spread> spreads;
        for (auto& [name, times] : seconds) spreads[name] = spread_of(std::move(times));
        return spreads;
    }

    [[nodiscard]] std::int64_t experts_hit() {
        std::int64_t hit = 0;
        for (const std::int32_t rows : row_of<std::int32_t>(layer_.work(0).rows_at.data(), 0, shape_.experts))
            hit += rows > 0 ? 1 : 0;
        return hit;
    }

    void report(const std::map<std::string, Spread>& spreads, double ratio) {
        const std::int64_t hit = experts_hit();
        std::cerr << fmt::format("T {:>6}  error/bound {:.3g}\n", shape_.tokens, ratio);
        for (const StageCost& cost : stage_costs(shape_, hit)) {
            const auto found = spreads.find(cost.name);
            if (found == spreads.end()) continue;
            const double floor = cost.floor_seconds(limits_);
            const Spread& spread = found->second;
            std::cerr << fmt::format("  {:<12} {:>10.1f} us  floor {:>8.1f}  {:>5.2f}x\n", cost.name,
                                     spread.median_s * 1e6, floor * 1e6, spread.median_s / floor);
            std::ostringstream line;
            reports::JsonWriter json{line};
            json.begin_object()
                .field("bench", "moe_layer")
                .field("stage", cost.name)
                .field("tokens", shape_.tokens)
                .field("hidden", shape_.hidden)
                .field("moe_hidden", shape_.moe_hidden)
                .field("experts", shape_.experts)
                .field("top_k", shape_.top_k)
                .field("experts_hit", hit)
                .field("median_us", spread.median_s * 1e6)
                .field("p10_us", spread.p10_s * 1e6)
                .field("p90_us", spread.p90_s * 1e6)
                .field("repetitions", spread.repetitions)
                .field("bytes", cost.bytes)
                .field("flops", cost.flops)
                .field("floor_us", floor * 1e6)
                .field("times_floor", spread.median_s / floor)
                .field("error_over_bound", ratio)
                .field("copy_bytes_per_second", limits_.copy_bytes_per_second)
                .field("bf16_flops_per_second", limits_.bf16_flops_per_second)
                .field("gemm_by", limits_.gemm_by)
                .field("launch_us", limits_.launch_seconds * 1e6)
                .field("gpu", session_.machine().devices.front().name)
                .field("driver_cuda", session_.machine().driver_version)
                .field("cuda", session_.machine().runtime_version)
                .field("seed", kSeed)
                .end_object();
            out_ << line.str() << '\n';
        }
        out_.flush();
    }

    std::ostream& out_;
    props::Case case_;
    Model model_;
    Plan plan_;
    gpu::Session session_;
    gpu::Ledger ledger_;
    gpu::MoeLayer layer_;
    ColdL2 cold_;
    DeviceLimits limits_;
    LayerShape shape_;
};

int run(std::span<char*> arguments) {
    bool smoke = false;
    std::ofstream file;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const std::string argument = arguments[i];
        if (argument == "--smoke") {
            smoke = true;
        } else if (argument == "--out" && i + 1 < arguments.size()) {
            file.open(arguments[++i], std::ios::app);
            if (!file) throw InputError{{"command line", "--out", arguments[i], "must be a file that can be written"}};
        } else {
            throw InputError{{"command line", argument, "", "must be --smoke or --out FILE"}};
        }
    }
    Bench bench{smoke, file.is_open() ? static_cast<std::ostream&>(file) : std::cout};
    if (smoke) {
        bench.run(33, 2);
        return 0;
    }
    for (const std::int64_t tokens : {1, 16, 128, 1024, 8192, 32768}) bench.run(tokens, 21);
    return 0;
}

}  // namespace
}  // namespace shardproof::bench

int main(int argc, char** argv) {
    try {
        return shardproof::bench::run({argv + 1, static_cast<std::size_t>(argc - 1)});
    } catch (const shardproof::InputError& error) {
        std::cerr << "moe_layer_bench: " << error.what() << '\n';
        return 2;
    } catch (const shardproof::EnvironmentError& error) {
        std::cerr << "moe_layer_bench: " << error.what() << '\n';
        return 3;
    } catch (const std::exception& error) {
        std::cerr << "moe_layer_bench: " << error.what() << '\n';
        return 1;
    }
}
