#include "props/laws/cost_laws.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "props/gen/case.hpp"

namespace shardproof::props {
namespace {

using testing::HasSubstr;

// 4 ranks, tp 2, ep 2, FSDP over what is left, one dense and one MoE layer, sequences of 3 and 2 tokens.
Case small_case() {
    Case c;
    c.model.layers = 2;
    c.model.dense_layers = {0};
    c.model.heads = c.model.kv_heads = 2;
    c.model.experts = 4;
    c.model.top_k = 2;
    c.model.moe_hidden = 4;
    c.model.dense_hidden = 4;
    c.model.vocab = 11;
    c.layout = {.rules = "titan-train", .dp_replicate = 1, .dp_shard = 2, .tp = 2, .ep = 2, .sequence_parallel = true};
    c.sequences = {{.dp_idx = 0, .length = 3}, {.dp_idx = 1, .length = 2}};
    return c;
}

sim::StepCost forecast(const Plan& plan, const std::vector<std::vector<std::int64_t>>& tokens) {
    return sim::cost_of(plan, {.tokens_of_dp = tokens,
                               .arithmetic = Arithmetic::f32,
                               .expert_of = sim::uniform_routing(plan.config.router),
                               .network = {}});
}

TEST(ForecastIsCount, HoldsAndSeesOneByteOneCallAndOneDtype) {
    Subject subject{small_case()};
    EXPECT_EQ(cost::forecast_is_count(subject), std::nullopt);
    // A trace made from a forecast by hand, and then altered.
    const sim::StepCost good = forecast(subject.plan(), {{0, 1, 2}, {3, 4}});
    sim::Trace trace;
    for (const sim::CollectiveCost& call : good.collectives) {
        for (std::size_t i = 0; i < call.stages.size(); ++i) {
            sim::TraceEvent event{.kind = call.kind,
                                  .group = call.group,
                                  .ranks = {},
                                  .dtype = call.dtype,
                                  .what = call.what,
                                  .sent_by = call.sent,
                                  .received_by = call.received};
            for (std::size_t r = 0; r < call.sent.size(); ++r) event.ranks.emplace_back(static_cast<std::int64_t>(r));
            trace.push_back(std::move(event));
        }
    }
    ASSERT_EQ(cost::difference(good, trace), std::nullopt);
    sim::StepCost altered = good;
    altered.collectives.back().received[2] += 1;
    EXPECT_THAT(cost::difference(altered, trace).value_or(""), HasSubstr("rank 2, call 0"));
    altered = good;
    altered.dispatch_bytes[1] += 1;
    EXPECT_THAT(cost::difference(altered, trace).value_or(""), HasSubstr("dispatch buffers, rank 1: 129 bytes"));
    altered = good;
    altered.collectives.front().stages.pop_back();
    EXPECT_THAT(cost::difference(altered, trace).value_or(""), HasSubstr("counted"));
    altered = good;
    altered.collectives.front().dtype = DType::BF16;
    EXPECT_THAT(cost::difference(altered, trace).value_or(""), HasSubstr("counted, not forecast"));
    trace.pop_back();
    EXPECT_THAT(cost::difference(good, trace).value_or(""), HasSubstr("forecast"));
}

// A fault planted in the run: one sum travels in half the bytes.
TEST(ForecastIsCount, SeesARunThatMovesOtherBytes) {
    sim::Faults faults;
    faults.on_call = [](Rank, sim::CollectiveCall& call) {
        if (call.what == "attention output") call.dtype = DType::BF16;
        return sim::Participation::joins;
    };
    Subject subject{small_case()};
    sim::Trace trace;
    CheckOptions options;
    options.faults = &faults;
    options.trace = &trace;
    EXPECT_FALSE(check(subject.model(), subject.plan(), subject.batch(), options).stall);
    EXPECT_THAT(cost::difference(forecast(subject.plan(), {{0, 1, 2}, {3, 4}}), trace).value_or(""),
                HasSubstr("attention output"));
}

TEST(CostOf, TakesItsTimesFromTheNetworkByHand) {
    Subject subject{small_case()};
    sim::StepOptions options{.tokens_of_dp = {{0, 1, 2}, {3, 4}},
                             .arithmetic = Arithmetic::f32,
                             .expert_of = sim::uniform_routing(subject.plan().config.router),
                             .network = {.ranks_per_node = 2,
                                         .intra_node = {.latency_us = 1, .gb_per_s = 0.001},
                                         .inter_node = {.latency_us = 100, .gb_per_s = 0.0001}}};
    const sim::StepCost cost = sim::cost_of(subject.plan(), options);
    const auto call = [&](std::string_view what) {
        return *std::ranges::find(cost.collectives, what, &sim::CollectiveCost::what);
    };
    // tp pairs share a node: 3 rows of 8 f32 are handed in, 2 are kept: 1 us, and 32 bytes at 1 byte a microsecond (the
    // other rank keeps 1 and hands over 2).
    EXPECT_DOUBLE_EQ(call("embeddings").time_us, 1 + 64);
    EXPECT_EQ(call("embeddings").sent, (std::vector<std::int64_t>{96, 96, 64, 64}));
    EXPECT_EQ(call("embeddings").received, (std::vector<std::int64_t>{64, 32, 32, 32}));
    // fsdp pairs do not: half of 8 f32 from the other node at 0.1 bytes a microsecond.
    EXPECT_DOUBLE_EQ(call("attention_norm").time_us, 100 + 160);
    EXPECT_EQ(call("attention_norm").stages, (std::vector<std::int64_t>{1, 2}));
}

// Rank 0 is fullest in the MoE layer: of its 2 rows, the stream, the normed rows and the sum (8 each) and 4 scores; of
// the 4 rows that reach it, input and output (8 each), gate and up (4 each). Rank 1 is in the head: 1 row of the
// stream, 3 gathered rows (8), 5 columns of its own and all 11.
TEST(CostOf, HoldsWhatItsStepsHoldByHand) {
    Subject subject{small_case()};
    const sim::StepCost cost = forecast(subject.plan(), {{0, 1, 2}, {3, 4}});
    EXPECT_EQ(cost.activation_bytes, (std::vector<std::int64_t>{608, 320, 304, 304}));
    EXPECT_EQ(cost.dispatch_bytes, (std::vector<std::int64_t>{256, 128, 128, 128}));
}

TEST(CostOf, RoutingOfItsOwnIsEvenOrSkewedAsItSays) {
    const RouterSpec router{.num_experts = 4, .top_k = 2};
    const sim::ExpertOf uniform = sim::uniform_routing(router);
    const sim::ExpertOf skewed = sim::skewed_routing(router);
    std::vector<std::int64_t> even(4, 0);
    for (std::int64_t token = 0; token < 8; ++token) {
        for (std::int64_t k = 0; k < 2; ++k) ++even[uniform(0, token, k).idx()];
        EXPECT_NE(uniform(0, token, 0), uniform(0, token, 1));
    }
    EXPECT_EQ(even, (std::vector<std::int64_t>{4, 4, 4, 4}));
    EXPECT_EQ(skewed(0, 6, 1), ExpertId{1});
    EXPECT_EQ(skewed(0, 7, 1), uniform(0, 7, 1));
}

}  // namespace
}  // namespace shardproof::props
