// The bounds against a backend in float: never exceeded, and not much wider than needed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "oracle/dense_backend.hpp"
#include "oracle/judge.hpp"

namespace shardproof::oracle {
namespace {

struct Ratios {
    std::vector<double> values;  // largest error/bound of each stage judged
    std::int64_t tokens = 0;
    std::int64_t other_ids = 0;
    void print(const std::string& name) {
        std::sort(values.begin(), values.end());
        const auto at = [&](double q) {
            return values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1))];
        };
        std::printf("%-22s %5zu stages: error/bound median %.3f, 90%% %.3f, largest %.3f\n", name.c_str(),
                    values.size(), at(0.5), at(0.9), at(1.0));
    }
};

// Judges `cases` random models; ratios by kind of stage. Every stage must pass.
std::map<std::string, Ratios> judge_random(Arithmetic arithmetic, int cases, std::uint64_t seed) {
    std::map<std::string, Ratios> ratios;
    for (int i = 0; i < cases; ++i) {
        const std::uint64_t case_seed = seed + static_cast<std::uint64_t>(i);
        Random random{case_seed};
        const ModelConfig config = random_config(random);
        const TinyWeights spec{
            .dtype = between(random, 0, 1) == 0 ? DType::BF16 : DType::F32,
            .size = std::exp2(static_cast<double>(between(random, -2, 2))),
            .gate_size = std::exp2(static_cast<double>(between(random, -2, arithmetic == Arithmetic::f32 ? 4 : 2))),
            .twins = config.router.num_experts > 1 && between(random, 0, 3) == 0
                         ? between(random, 0, config.router.num_experts - 2)
                         : -1};
        const TinyModel model{config, random_checkpoint(config, spec, random)};
        const Batch batch = random_batch(config, random);
        const Style style{.arithmetic = arithmetic,
                          .order = static_cast<Style::Order>(i % 3),
                          .ranks = static_cast<int>(between(random, 1, 4)),
                          .eager = arithmetic == Arithmetic::bf16 && between(random, 0, 1) == 0};
        Judge judge{config, model.checkpoint, batch, arithmetic};
        for (const StageRecord& stage : DenseBackend{model, batch, style}.run()) {
            const LayerVerdict verdict = judge.judge(stage);
            const Mismatch mismatch = verdict.failure.value_or(Mismatch{});
            EXPECT_TRUE(verdict.ok) << "seed " << case_seed << " " << mismatch.layer << ": " << mismatch.why << ", got "
                                    << mismatch.got << ", want " << mismatch.want << ", bound " << mismatch.bound;
            const bool layer = stage.kind == StageKind::layer;
            Ratios& kind = ratios[!layer ? verdict.name : config.is_moe(stage.layer) ? "moe layers" : "dense layers"];
            if (verdict.tokens > 0) kind.values.push_back(verdict.max_ratio);
            if (layer && config.is_moe(stage.layer)) {
                kind.tokens += verdict.tokens;
                kind.other_ids += verdict.tokens_with_other_ids;
            }
        }
    }
    return ratios;
}

// More cases than the default by SHARDPROOF_BOUND_CASES.
int num_cases() {
    const char* more = std::getenv("SHARDPROOF_BOUND_CASES");
    return more != nullptr ? std::atoi(more) : 300;
}

void expect_tight(std::map<std::string, Ratios> ratios, double other_ids_max) {
    for (auto& [name, kind] : ratios) {
        kind.print(name);
        if (name == "tok_embeddings") {
            EXPECT_EQ(kind.values.back(), 0.0) << "embeddings are exact";
        } else {
            EXPECT_GT(kind.values.back(), 0.05) << name << ": bounds are too wide";
        }
    }
    const Ratios& moe = ratios["moe layers"];
    std::printf("%lld of %lld tokens with other expert ids\n", static_cast<long long>(moe.other_ids),
                static_cast<long long>(moe.tokens));
    EXPECT_LE(static_cast<double>(moe.other_ids), other_ids_max * static_cast<double>(moe.tokens));
}

TEST(Bounds, HoldAndAreTightInF32) { expect_tight(judge_random(Arithmetic::f32, num_cases(), 1), 0.01); }
TEST(Bounds, HoldAndAreTightInBf16) { expect_tight(judge_random(Arithmetic::bf16, num_cases(), 1'000'000), 0.01); }

}  // namespace
}  // namespace shardproof::oracle
