// Real devices against the oracle, the pure dispatch plan and exact payloads. Skipped where there is no GPU.
#include "props/device_check.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "oracle/model/error.hpp"
#include "props/gen/draw_case.hpp"
#include "props/gen/tiny_model.hpp"
#include "props/mutants/mutant.hpp"

namespace shardproof::props {
namespace {

struct Way {
    const char* transport;
    const char* dispatcher;
    std::int64_t world_max;
};
void PrintTo(const Way& way, std::ostream* out) { *out << way.transport << " " << way.dispatcher; }

// One for all tests of a way: communicators are dear.
class OnDevices : public testing::TestWithParam<Way> {
protected:
    void SetUp() override {
        try {
            make_devices();
        } catch (const EnvironmentError& missing) {
            GTEST_SKIP() << missing.what();
        }
    }
    void make_devices() {
        devices_.reset();
        devices_ = std::make_unique<Devices>(DevicesOptions{
            .world = GetParam().world_max, .transport = GetParam().transport, .deadline_s = deadline_s_});
    }
    [[nodiscard]] DeviceCheckOptions options(Arithmetic arithmetic) const {
        return {.arithmetic = arithmetic,
                .seed = 0,
                .dispatcher = GetParam().dispatcher,
                .grouped_gemm = "auto",
                .deadline_s = 20,
                .faults = nullptr,
                .judged_plan = nullptr,
                .progress = {}};
    }
    // Calls fn for `count` drawn cases that fit.
    void each_case(std::uint64_t seed, int count, const std::function<void(const Case&)>& fn) const {
        sim::Prng prng{seed};
        for (int seen = 0; seen < count;) {
            const Case c = draw_case(prng);
            if (c.layout.world() > GetParam().world_max) continue;
            SCOPED_TRACE(print_case(c));
            fn(c);
            if (HasFatalFailure()) return;
            ++seen;
        }
    }
    double deadline_s_ = 20;
    std::unique_ptr<Devices> devices_;
};

Plan plan_of(const Case& c, const Model& model) {
    return make_plan(model, dims_of(c.layout), rule_set_named(c.layout.rules));
}

TEST_P(OnDevices, RandomModelsAndLayoutsAreWhatTheOracleSays) {
    double max_ratio = 0;
    each_case(11, 60, [&](const Case& c) {
        const Model model = make_tiny_model(c);
        const Plan plan = plan_of(c, model);
        const CheckReport report = devices_->check(model, plan, make_batch(c), options(c.arithmetic));
        ASSERT_TRUE(report.ok()) << report.failure->layer << " rank " << report.failure->rank.value() << ": "
                                 << report.failure->why << ", got " << report.failure->got << ", want "
                                 << report.failure->want << ", bound " << report.failure->bound;
        EXPECT_EQ(report.load.bytes_read, report.load.bytes_planned);
        for (const LayerVerdict& layer : report.verdict.layers) max_ratio = std::max(max_ratio, layer.max_ratio);
    });
    EXPECT_GT(max_ratio, 0.01) << "bounds so wide judge nothing";
}

TEST_P(OnDevices, IntegerPayloadsComeBackExactly) {
    each_case(12, 60, [&](const Case& c) {
        const Model model = make_tiny_model(c);
        const Plan plan = plan_of(c, model);
        const auto bad = devices_->check_carrying(model, plan, make_batch(c), options(c.arithmetic), c.model.seed);
        ASSERT_FALSE(bad) << bad->layer << " rank " << bad->rank.value() << ": " << bad->why << ", got " << bad->got
                          << ", want " << bad->want;
    });
}

TEST_P(OnDevices, PlantedFaultsInPlansAreFound) {
    for (const Mutant& mutant : mutants()) {
        if (!mutant.on_devices) continue;
        // Its deadline is waited out, once for each case: tests of stalls have a shorter one.
        if (mutant.id == "m15") continue;
        // Kernels that store through windows make no call whose group could be another.
        if (mutant.id == "m03" && std::string_view{GetParam().dispatcher} == "windows") continue;
        int planted = 0;
        int found = 0;
        each_case(13, 400, [&](const Case& c) {
            if (planted == 40) return;
            const Model model = make_tiny_model(c);
            const Plan plan = plan_of(c, model);
            const Batch batch = make_batch(c);
            const auto fault = mutant.plant({.c = c, .model = model, .plan = plan, .batch = batch});
            if (!fault) return;
            ++planted;
            DeviceCheckOptions how = options(c.arithmetic);
            how.faults = &fault->faults;
            how.judged_plan = &plan;
            try {
                const CheckReport report = devices_->check(model, fault->plan ? *fault->plan : plan, batch, how);
                found += report.ok() ? 0 : 1;
                if (report.stall) make_devices();
            } catch (const BugError&) {  // a plan that contradicts itself goes no further
                ++found;
                make_devices();
            }
        });
        EXPECT_GT(planted, 0) << mutant.id;
        EXPECT_GT(found, 0) << mutant.id << " planted " << planted << " times";
    }
}

// dp_shard 2, tp 2, ep 4: four ranks, tokens on all of them.
Case stall_case() {
    Case c;
    c.model = {.hidden = 16,
               .layers = 1,
               .heads = 2,
               .kv_heads = 2,
               .head_dim = 4,
               .experts = 8,
               .top_k = 3,
               .moe_hidden = 10,
               .dense_hidden = 12,
               .vocab = 29,
               .dense_layers = {},
               .dtype = DType::BF16,
               .seed = 5};
    c.layout = {.rules = "titan-infer", .dp_shard = 2, .tp = 2, .ep = 4};
    c.sequences = {{0, 7}, {1, 4}};
    return c;
}

class FaultsOnDevices : public OnDevices {
protected:
    FaultsOnDevices() { deadline_s_ = 2; }
    // The same fault on virtual ranks and on devices.
    [[nodiscard]] std::pair<CheckReport, CheckReport> both(const sim::Faults& faults) {
        const Case c = stall_case();
        const Model model = make_tiny_model(c);
        const Plan plan = plan_of(c, model);
        DeviceCheckOptions how = options(Arithmetic::f32);
        how.deadline_s = 2;
        how.faults = &faults;
        const auto begin = std::chrono::steady_clock::now();
        CheckReport on_devices = devices_->check(model, plan, make_batch(c), how);
        EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), 10);
        CheckReport on_sim =
            check(model, plan, make_batch(c),
                  {.arithmetic = Arithmetic::f32, .faults = &faults, .trace = nullptr, .progress = {}});
        return {std::move(on_sim), std::move(on_devices)};
    }
};

TEST_P(FaultsOnDevices, WhoSkipsACallIsWaitedForAsTheVirtualRanksSay) {
    sim::Faults faults;
    faults.on_call = [](Rank rank, sim::CollectiveCall& call) {
        const bool skips = rank == Rank{2} && call.kind == sim::CollectiveKind::all_to_all;
        return skips ? sim::Participation::skips : sim::Participation::joins;
    };
    const auto [sim, device] = both(faults);
    ASSERT_TRUE(sim.stall && device.stall);
    EXPECT_EQ(sim.stall->kind, device.stall->kind);
    for (const auto& [where, stall] : {std::pair{"sim", *sim.stall}, {"device", *device.stall}}) {
        SCOPED_TRACE(where);
        std::vector<Rank> waiting;
        for (const sim::Stall::Wait& wait : stall.waits) {
            if (wait.absent != std::vector{Rank{2}}) continue;
            waiting.push_back(wait.rank);
            EXPECT_THAT(wait.call, testing::AllOf(testing::HasSubstr("all_to_all("), testing::HasSubstr(" bytes out"),
                                                  testing::HasSubstr("on ep [0,1,2,3]: rows of each expert")));
        }
        EXPECT_THAT(waiting, testing::ElementsAre(Rank{0}, Rank{1}, Rank{3}));
    }
}

TEST_P(FaultsOnDevices, AnotherDtypeIsNamedAsTheVirtualRanksNameIt) {
    sim::Faults faults;
    faults.on_call = [](Rank rank, sim::CollectiveCall& call) {
        if (rank == Rank{1} && call.what == "dispatch") call.dtype = DType::F16;
        return sim::Participation::joins;
    };
    const auto [sim, device] = both(faults);
    ASSERT_TRUE(sim.stall && device.stall);
    EXPECT_EQ(sim.stall->kind, sim::Stall::Kind::mismatch);
    EXPECT_EQ(device.stall->kind, sim::Stall::Kind::mismatch);
    for (const std::string& message : {sim.stall->message, device.stall->message}) {
        EXPECT_THAT(message,
                    testing::AllOf(testing::HasSubstr("mismatched collective"), testing::HasSubstr("rank 1"),
                                   testing::HasSubstr("all_to_all(F16"), testing::HasSubstr("all_to_all(F32")));
    }
}

TEST_P(FaultsOnDevices, WhatARankThrowsEndsTheOthersAndPassesOn) {
    sim::Faults faults;
    faults.on_call = [](Rank rank, sim::CollectiveCall& call) {
        if (rank == Rank{3} && call.what == "combine") throw std::runtime_error{"rank 3 fell over"};
        return sim::Participation::joins;
    };
    EXPECT_THAT([&] { (void)both(faults); }, testing::ThrowsMessage<std::runtime_error>("rank 3 fell over"));
}

INSTANTIATE_TEST_SUITE_P(Ways, FaultsOnDevices,
                         testing::Values(Way{"loopback", "send-receive", 4}, Way{"nccl", "send-receive", 4}),
                         [](const auto& instance) { return std::string{instance.param.transport}; });

TEST(NoDevices, AreSaidToBeMissing) {
    try {
        const Devices devices{{.world = 2, .transport = "loopback", .deadline_s = 5}};
        GTEST_SKIP() << "there is a GPU: " << devices.describe();
    } catch (const EnvironmentError& missing) {
        EXPECT_THAT(missing.what(), testing::AnyOf(testing::HasSubstr("GPU"), testing::HasSubstr("CUDA")));
    }
}

INSTANTIATE_TEST_SUITE_P(Ways, OnDevices,
                         testing::Values(Way{"loopback", "send-receive", 16}, Way{"nccl", "send-receive", 16},
                                         Way{"nccl", "windows", 8}),
                         [](const auto& instance) {
                             std::string name = std::string{instance.param.transport} + "_" + instance.param.dispatcher;
                             std::ranges::replace(name, '-', '_');
                             return name;
                         });

}  // namespace
}  // namespace shardproof::props
