// Real devices against the oracle, the pure dispatch plan and exact payloads. Skipped where there is no GPU.
#include "props/device_check.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <numeric>
#include <thread>

#ifdef SHARDPROOF_HAS_GPU
#include "gpu/layer_weights.hpp"
#include "props/device_end.hpp"
#include "props/device_judge.hpp"
#endif
#include "oracle/model/error.hpp"
#include "props/device_test_support.hpp"
#include "props/four_ranks.hpp"
#include "props/gen/draw_case.hpp"
#include "props/gen/tiny_model.hpp"
#include "props/mutants/mutant.hpp"
#include "sim/plan/shard.hpp"

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
        const Way& way = GetParam();
        if (const auto missing = why_no_ranks(way.transport, way.dispatcher, way.world_max)) GTEST_SKIP() << *missing;
        make_anew();
    }
    void make_anew() {
        devices_.reset();
        devices_ =
            make_devices({.world = GetParam().world_max, .transport = GetParam().transport, .deadline_s = deadline_s_});
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
            if (c.layout.world() > GetParam().world_max || !runs_on_devices(c)) continue;
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

// Whether the virtual ranks fail by this fault in an MoE layer, its load or its run: then devices must fail too. What
// comes of it elsewhere devices do not run.
bool fails_in_moe(const Case& c, const Model& model, const Plan& plan, const Planted& fault) {
    const CheckReport report = check(model, fault.plan ? *fault.plan : plan, make_batch(c),
                                     {.arithmetic = c.arithmetic,
                                      .seed = c.scheduler_seed,
                                      .faults = &fault.faults,
                                      .judged_plan = &plan,
                                      .trace = nullptr,
                                      .progress = {}});
    constexpr std::string_view kLayers = "layers.";
    if (report.ok() || !report.failure->layer.starts_with(kLayers)) return false;
    return plan.config.is_moe(std::stoll(report.failure->layer.substr(kLayers.size())));
}

TEST_P(OnDevices, PlantedFaultsInPlansAreFound) {
    for (const Mutant& mutant : mutants()) {
        if (!mutant.on_devices) continue;
        // Its deadline is waited out, once for each case: tests of stalls have a shorter one.
        if (mutant.id == "m15") continue;
        // Kernels that store through windows make no call whose group could be another.
        if (mutant.id == "m03" && std::string_view{GetParam().dispatcher} == "windows") continue;
        int planted = 0;
        each_case(13, 600, [&](const Case& c) {
            if (planted == 40) return;
            const Model model = make_tiny_model(c);
            const Plan plan = plan_of(c, model);
            const Batch batch = make_batch(c);
            const auto fault = mutant.plant({.c = c, .model = model, .plan = plan, .batch = batch});
            if (!fault || !fails_in_moe(c, model, plan, *fault)) return;
            ++planted;
            DeviceCheckOptions how = options(c.arithmetic);
            how.faults = &fault->faults;
            how.judged_plan = &plan;
            const CheckReport report = devices_->check(model, fault->plan ? *fault->plan : plan, batch, how);
            EXPECT_FALSE(report.ok()) << mutant.id << " is found on virtual ranks";
            if (!devices_->usable()) make_anew();
        });
        EXPECT_GE(planted, 8) << mutant.id;
    }
}

#ifdef SHARDPROOF_HAS_GPU
// The plan of four ranks or more, its expert axes swapped in running and not in loading, and what each rank then loads.
struct LoadedByAnother {
    Case c;
    Model model;
    Plan plan;
    Batch batch;
    std::optional<Planted> fault;
    explicit LoadedByAnother(const Case& given)
        : c{given},
          model{make_tiny_model(c)},
          plan{plan_of(c, model)},
          batch{make_batch(c)},
          fault{mutants_named({"m05"}).front()->plant({.c = c, .model = model, .plan = plan, .batch = batch})} {}
    // Throws PlanMismatch for the first shard that is not what `runs` gathers.
    void require_pieces(const Plan& runs, const sim::Faults* faults) const {
        for (std::size_t p = 0; p < runs.params.size(); ++p) {
            for (Rank rank{0}; rank.value() < runs.world(); rank = Rank{rank.value() + 1}) {
                LoadPlan loaded = make_load_plan(runs, p, rank);
                if (faults != nullptr) faults->on_load(rank, p, loaded);
                gpu::require_piece(runs, p, rank, make_gather_plan(runs, p, rank), loaded.shape);
            }
        }
    }
};

TEST(LayerWeights, SayWhoLoadedByAnotherPlanThanItRuns) {
    const LoadedByAnother m05{parse_case(
        "rules=titan-train,dp_shard=3,tp=2,ep=2,experts=7,hidden=8,heads=2,kv_heads=2,moe_hidden=4,seqs=0:3")};
    ASSERT_TRUE(m05.fault);
    m05.require_pieces(m05.plan, nullptr);
    try {
        m05.require_pieces(*m05.fault->plan, &m05.fault->faults);
        FAIL() << "every rank loaded what it computes with";
    } catch (const gpu::PlanMismatch& unfit) {
        EXPECT_THAT(unfit.what(),
                    testing::MatchesRegex("rank [0-5] loaded \\[.*\\] of layers.0.*w[123]* \\(.* elements\\) where its "
                                          "plan computes with \\[.*\\] \\(.* elements\\)"));
        EXPECT_THAT(unfit.what(), testing::HasSubstr("rank " + std::to_string(unfit.rank().value())));
        EXPECT_NE(unfit.held(), unfit.wanted());
    }
}

// Pieces of as many elements that are joined along another dim would be written past the end of what they join to.
TEST(LayerWeights, AreToldApartByShapeAndNotByNumberOfElements) {
    const LoadedByAnother healthy{parse_case(
        "rules=titan-train,dp_shard=2,tp=2,ep=2,experts=4,hidden=8,heads=2,kv_heads=2,moe_hidden=4,seqs=0:3")};
    const Plan& plan = healthy.plan;
    for (std::size_t p = 0; p < plan.params.size(); ++p) {
        if (plan.params[p].parameter.role != Role::expert_w1) continue;
        const GatherPlan gather = make_gather_plan(plan, p, Rank{0});
        Shape held = local_shape(shard_of(plan, p, Rank{0}));
        gpu::require_piece(plan, p, Rank{0}, gather, held);
        std::swap(held[0], held[1]);
        EXPECT_THROW(gpu::require_piece(plan, p, Rank{0}, gather, held), gpu::PlanMismatch) << to_string(held);
    }
}

TEST(DeviceJudge, CountsTheElementsThatNoCopyWrites) {
    const Case c = four_ranks();
    const Model model = make_tiny_model(c);
    const Plan plan = plan_of(c, model);
    std::vector<std::size_t> params(plan.params.size());
    std::iota(params.begin(), params.end(), 0);
    EXPECT_EQ(elements_unwritten(model.checkpoint, plan, params, nullptr), 0);
    sim::Faults faults;
    std::int64_t want = 0;
    faults.on_load = [&](Rank rank, std::size_t p, LoadPlan& load) {
        if (rank != Rank{2} || p != 1) return;
        want = load.shard_bytes() / (bits_of(load.dtype) / 8);
        load.copies.clear();
    };
    EXPECT_EQ(elements_unwritten(model.checkpoint, plan, params, &faults), want);
    EXPECT_GT(want, 0);
}

// Counts its ends, and takes its time.
struct Slow {
    std::shared_ptr<std::atomic<int>> ended;
    std::chrono::milliseconds takes{0};
    ~Slow() {
        std::this_thread::sleep_for(takes);
        ++*ended;
    }
};

TEST(DeviceEnd, IsWaitedForWhereItComesAndLeftWhereItDoesNot) {
    auto ended = std::make_shared<std::atomic<int>>(0);
    end_or_leave(std::make_shared<Slow>(ended, std::chrono::milliseconds{20}), 10, "something quick");
    EXPECT_EQ(*ended, 1);
    testing::internal::CaptureStderr();
    const auto begin = std::chrono::steady_clock::now();
    end_or_leave(std::make_shared<Slow>(ended, std::chrono::milliseconds{2000}), 0.05, "something slow");
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds{1500});
    EXPECT_EQ(testing::internal::GetCapturedStderr(),
              "shardproof: something slow did not end within 0.05 s and stays behind\n");
    EXPECT_EQ(*ended, 1);
    for (int i = 0; i < 500 && *ended < 2; ++i) std::this_thread::sleep_for(std::chrono::milliseconds{20});
    EXPECT_EQ(*ended, 2);
}
#endif

class FaultsOnDevices : public OnDevices {
protected:
    FaultsOnDevices() { deadline_s_ = 2; }
    // The same fault on virtual ranks and on devices.
    [[nodiscard]] std::pair<CheckReport, CheckReport> both(const sim::Faults& faults) {
        const Case c = four_ranks();
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

#ifdef SHARDPROOF_HAS_GPU
// As if a kernel of one rank had read where it must not.
TEST_P(FaultsOnDevices, WhatCudaOrNcclAnswersInARunIsAFailureOfTheRun) {
    const Case c = four_ranks();
    const Model model = make_tiny_model(c);
    const Plan plan = plan_of(c, model);
    const auto with = [&](const std::function<void()>& answer) {
        sim::Faults faults;
        faults.on_call = [&answer](Rank rank, sim::CollectiveCall& call) {
            if (rank == Rank{3} && call.what == "combine") answer();
            return sim::Participation::joins;
        };
        make_anew();
        DeviceCheckOptions how = options(Arithmetic::f32);
        how.faults = &faults;
        const CheckReport report = devices_->check(model, plan, make_batch(c), how);
        EXPECT_FALSE(devices_->usable());
        EXPECT_FALSE(report.ok());
        make_anew();
        const auto carried = devices_->check_carrying(model, plan, make_batch(c), how, 1);
        EXPECT_FALSE(devices_->usable());
        EXPECT_TRUE(carried);
        if (report.ok() || !carried) return std::string{};
        EXPECT_EQ(report.failure->layer, "layers.0.moe");
        EXPECT_EQ(report.failure->why, carried->why);
        return report.failure->why;
    };
    EXPECT_THAT(with([] { throw gpu::CudaError{cudaErrorIllegalAddress, "x.cu", 1}; }),
                testing::HasSubstr("cudaErrorIllegalAddress"));
    EXPECT_THAT(with([] { throw gpu::NcclError{1, "unhandled cuda error", "x.cpp", 1}; }),
                testing::HasSubstr("NCCL answered 1"));
    EXPECT_THROW((void)with([] { throw gpu::CudaError{cudaErrorMemoryAllocation, "x.cu", 1}; }), EnvironmentError);
}
#endif

#ifdef SHARDPROOF_HAS_GPU
TEST_P(FaultsOnDevices, RanksLoadedByAnotherPlanAreAFailureThatNamesOneOfThem) {
    const LoadedByAnother m05{
        parse_case("rules=titan-train,dp_shard=2,tp=2,ep=2,experts=3,heads=2,kv_heads=2,moe_hidden=2,seqs=0:3")};
    ASSERT_TRUE(m05.fault);
    DeviceCheckOptions how = options(Arithmetic::f32);
    how.faults = &m05.fault->faults;
    how.judged_plan = &m05.plan;
    const CheckReport report = devices_->check(m05.model, *m05.fault->plan, m05.batch, how);
    ASSERT_FALSE(report.ok());
    EXPECT_FALSE(report.load_ok);
    EXPECT_EQ(report.failure->layer, "layers.0.moe");
    EXPECT_THAT(report.failure->why, testing::HasSubstr("where its plan computes with"));
    EXPECT_NE(report.failure->got, report.failure->want);
    EXPECT_TRUE(devices_->usable());
    how.faults = nullptr;
    EXPECT_TRUE(devices_->check(m05.model, m05.plan, m05.batch, how).ok());
}
#endif

TEST_P(FaultsOnDevices, AStalledExchangeOfIntegersIsAMismatchThatNamesWhoIsMissing) {
    const Case c = four_ranks();
    const Model model = make_tiny_model(c);
    const Plan plan = plan_of(c, model);
    sim::Faults faults;
    faults.on_call = [](Rank rank, sim::CollectiveCall& call) {
        return rank == Rank{2} && call.what == "combine" ? sim::Participation::skips : sim::Participation::joins;
    };
    DeviceCheckOptions how = options(Arithmetic::f32);
    how.deadline_s = 2;
    how.faults = &faults;
    const auto bad = devices_->check_carrying(model, plan, make_batch(c), how, 1);
    ASSERT_TRUE(bad);
    EXPECT_THAT(bad->why, testing::HasSubstr("combine"));
    EXPECT_FALSE(devices_->usable());
}

INSTANTIATE_TEST_SUITE_P(Ways, FaultsOnDevices,
                         testing::Values(Way{"loopback", "send-receive", 4}, Way{"nccl", "send-receive", 4}),
                         [](const auto& instance) { return std::string{instance.param.transport}; });

TEST(NoDevices, AreSaidToBeMissing) {
    if (!why_no_ranks("loopback", "send-receive", 2)) GTEST_SKIP() << "there is a GPU";
    EXPECT_THAT([] { (void)make_devices({.world = 2, .transport = "loopback", .deadline_s = 5}); },
                testing::ThrowsMessage<EnvironmentError>(
                    testing::AnyOf(testing::HasSubstr("GPU"), testing::HasSubstr("CUDA"))));
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
