// Fuzz on devices that only pretend: which laws it tries and leaves out, and what it makes of devices that break.
#include "props/device_fuzz.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "oracle/model/error.hpp"
#include "props/four_ranks.hpp"
#include "props/laws/subject.hpp"

namespace shardproof::props {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Key;
using testing::Not;
using testing::Pair;
using testing::ThrowsMessage;
using testing::UnorderedElementsAre;

// What a run meets: nothing, a wrong answer, a stall or an answer of CUDA's, a lack of the machine's.
enum class Meets : std::uint8_t { nothing, wrong_answer, broken_devices, no_memory };

// All devices of one test.
struct Stage {
    std::optional<std::string> why_no_windows;
    std::optional<std::string> why_no_gemm;
    std::function<Meets(const Plan&)> meets = [](const Plan&) { return Meets::nothing; };
    int makeable = 1000;  // so often devices can be made
    int alive = 0;
    int made = 0;
    int runs = 0;
    std::set<std::string> gemms;       // asked for
    std::set<std::string> dispatchers;
    std::set<double> deadlines;
};

class PretendedDevices final : public Devices {
public:
    explicit PretendedDevices(Stage& stage) : stage_{stage} {
        EXPECT_EQ(stage_.alive, 0) << "made while others still hold the GPU";
        ++stage_.alive;
        ++stage_.made;
    }
    ~PretendedDevices() override { --stage_.alive; }
    [[nodiscard]] std::string describe() const override { return "pretended"; }
    [[nodiscard]] DevicesFacts facts() const override { return {}; }
    [[nodiscard]] bool is_first_process() const override { return true; }
    [[nodiscard]] bool usable() const override { return usable_; }
    [[nodiscard]] std::optional<std::string> why_not(const std::string& dispatcher) const override {
        return dispatcher == "windows" ? stage_.why_no_windows : std::nullopt;
    }
    [[nodiscard]] GroupedGemmChoice grouped_gemm(const Plan&, Arithmetic, const std::string& name) const override {
        stage_.gemms.insert(name);
        if (stage_.why_no_gemm) return {.rows = {}, .why_not = stage_.why_no_gemm};
        return {.rows = {name == "portable" ? "portable" : "cutlass"}, .why_not = std::nullopt};
    }
    [[nodiscard]] CheckReport check(const Model&, const Plan& plan, const Batch&,
                                    const DeviceCheckOptions& options) override {
        CheckReport report;
        report.failure = ran(plan, options);
        return report;
    }
    [[nodiscard]] std::optional<Mismatch> check_carrying(const Model&, const Plan& plan, const Batch&,
                                                         const DeviceCheckOptions& options, std::uint64_t) override {
        return ran(plan, options);
    }

private:
    std::optional<Mismatch> ran(const Plan& plan, const DeviceCheckOptions& options) {
        EXPECT_TRUE(usable_) << "a run on devices that are of no use";
        ++stage_.runs;
        stage_.dispatchers.insert(options.dispatcher);
        stage_.deadlines.insert(options.deadline_s);
        const Meets met = stage_.meets(plan);
        if (met == Meets::no_memory) throw EnvironmentError{"not enough device memory", "free some"};
        usable_ = met != Meets::broken_devices;
        if (met == Meets::nothing) return std::nullopt;
        return Mismatch{.layer = "layers.0.moe",
                        .rank = Rank{0},
                        .coordinate = {},
                        .got = 0,
                        .want = 0,
                        .bound = 0,
                        .why = met == Meets::broken_devices ? "CUDA answered an illegal address" : "wrong"};
    }

    Stage& stage_;
    bool usable_ = true;
};

class DeviceFuzz : public testing::Test {
protected:
    DeviceFuzz() {
        options_.fuzz.cases = 60;
        options_.fuzz.shrink_seconds = 2;
        options_.make = [this]() -> std::unique_ptr<Devices> {
            if (stage_.made >= stage_.makeable) throw EnvironmentError{"CUDA answered that again", "a fresh process"};
            return std::make_unique<PretendedDevices>(stage_);
        };
    }
    FuzzReport fuzzed() {
        FuzzReport report = fuzz_devices(options_, options_.make());
        EXPECT_EQ(stage_.alive, 0);
        return report;
    }
    Stage stage_;
    DeviceFuzzOptions options_;
};

TEST_F(DeviceFuzz, TriesTheLawsOfAllDispatchers) {
    const FuzzReport report = fuzzed();
    EXPECT_TRUE(report.ok);
    EXPECT_EQ(report.cases, 60);
    EXPECT_THAT(report.skipped_laws, IsEmpty());
    EXPECT_THAT(stage_.dispatchers, ElementsAre("send-receive", "windows"));
    EXPECT_GT(report.laws.at("gpu.windows.layer"), 0);
    EXPECT_GT(report.traits.at("rows between ranks by windows"), 0);
}

// Counted apart, from the dispatch plans of the case's own subject.
bool rows_go_elsewhere(const Case& c) {
    Subject subject{c};
    for (const LayerDispatch& layer : subject.dispatches()) {
        for (std::size_t r = 0; r < layer.ranks.size(); ++r) {
            const auto me = static_cast<std::size_t>(
                subject.plan().meshes.sparse.coordinate(Rank{static_cast<std::int64_t>(r)}, Axis::ep));
            const std::vector<std::int64_t>& rows = layer.ranks[r].dispatch.rows_to_peer;
            for (std::size_t peer = 0; peer < rows.size(); ++peer) {
                if (peer != me && rows[peer] > 0) return true;
            }
        }
    }
    return false;
}

TEST_F(DeviceFuzz, CountsACaseByItsRowsBetweenRanksWhereOneCrosses) {
    options_.dispatcher = "windows";
    std::map<bool, int> cases;  // by whether rows cross
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        Case c = four_ranks();
        c.layout.rules = "titan-train";
        c.model.top_k = 1;
        c.model.layers = 1;
        c.model.seed = seed;
        c.layout.sequence_parallel = seed % 2 == 0;
        c.layout.ep = seed % 4 < 2 ? 2 : 4;
        c.sequences = {{0, 1}};
        const bool crosses = rows_go_elsewhere(c);
        ++cases[crosses];
        options_.fuzz.replay = {c};
        EXPECT_EQ(fuzzed().traits.at("rows between ranks by windows"), crosses ? 1 : 0) << print_case(c);
    }
    EXPECT_GT(cases[false], 5);
    EXPECT_GT(cases[true], 5);
}

TEST_F(DeviceFuzz, LeavesOutTheLawsThatTheDevicesCannotRunAndSaysWhy) {
    stage_.why_no_windows = "NCCL 2.30.4 was found";
    const FuzzReport report = fuzzed();
    EXPECT_TRUE(report.ok);
    EXPECT_THAT(stage_.dispatchers, ElementsAre("send-receive"));
    EXPECT_THAT(report.skipped_laws, UnorderedElementsAre(Pair("gpu.windows.layer", "NCCL 2.30.4 was found"),
                                                          Pair("gpu.windows.integers", "NCCL 2.30.4 was found")));
    EXPECT_THAT(report.laws, Not(Contains(Key("gpu.windows.layer"))));
}

TEST_F(DeviceFuzz, LacksWhatTheOnlyLawsAskedForNeed) {
    stage_.why_no_windows = "NCCL 2.30.4 was found";
    const auto refused = ThrowsMessage<EnvironmentError>(HasSubstr("NCCL 2.30.4 was found"));
    options_.fuzz.law = "gpu.windows";
    EXPECT_THAT([&] { (void)fuzzed(); }, refused);
    options_.fuzz.law = "";
    options_.dispatcher = "windows";
    EXPECT_THAT([&] { (void)fuzzed(); }, refused);
    EXPECT_EQ(stage_.runs, 0);
    options_.dispatcher = "";
    options_.fuzz.law = "gpu";
    EXPECT_EQ(fuzzed().skipped_laws.size(), 2U);
}

TEST_F(DeviceFuzz, TriesTheLawsOfOneDispatcherOnly) {
    options_.dispatcher = "windows";
    const FuzzReport report = fuzzed();
    EXPECT_THAT(stage_.dispatchers, ElementsAre("windows"));
    EXPECT_THAT(report.laws, Not(Contains(Key("gpu.send-receive.layer"))));
    options_.dispatcher = "send-receive";
    options_.fuzz.law = "gpu.windows";
    EXPECT_THAT([&] { (void)fuzzed(); },
                ThrowsMessage<InputError>(AllOf(HasSubstr("--law=gpu.windows: must be one of gpu.send-receive.layer"),
                                                HasSubstr("with --dispatcher send-receive"))));
}

TEST_F(DeviceFuzz, ShrinksOnDevicesMadeAnewACaseThatBrokeThem) {
    options_.fuzz.failures_max = 1;
    stage_.meets = [](const Plan& plan) {
        return plan.dims.ep() > 1 && plan.config.router.top_k > 1 ? Meets::broken_devices : Meets::nothing;
    };
    const FuzzReport report = fuzzed();
    EXPECT_FALSE(report.ok);
    ASSERT_EQ(report.failures.size(), 1U);
    const FuzzFailure& failure = report.failures.front();
    EXPECT_EQ(failure.law, "gpu.send-receive.layer");
    EXPECT_THAT(failure.message, HasSubstr("CUDA answered an illegal address"));
    EXPECT_THAT(failure.message, Not(HasSubstr("lost")));
    const Case shrunk = parse_case(failure.shrunk);
    EXPECT_EQ(shrunk.layout.world(), 2);
    EXPECT_EQ(shrunk.model.top_k, 2);
    EXPECT_GT(stage_.made, 2);
}

TEST_F(DeviceFuzz, KeepsTheFailureThatLostTheDevicesForGood) {
    stage_.makeable = 1;
    stage_.meets = [](const Plan& plan) { return plan.dims.ep() > 1 ? Meets::broken_devices : Meets::nothing; };
    const FuzzReport report = fuzzed();
    EXPECT_FALSE(report.ok);
    ASSERT_EQ(report.failures.size(), 1U);
    EXPECT_EQ(report.failures.front().shrunk, report.failures.front().original);
    EXPECT_THAT(report.failures.front().message,
                AllOf(HasSubstr("CUDA answered an illegal address"), HasSubstr("the devices are lost"),
                      HasSubstr("CUDA answered that again")));
}

TEST_F(DeviceFuzz, KeepsTheFailureOfACaseThatCannotShrink) {
    stage_.makeable = 1;
    options_.fuzz.shrink_seconds = 0;
    stage_.meets = [](const Plan&) { return Meets::broken_devices; };
    const FuzzReport report = fuzzed();
    EXPECT_FALSE(report.ok);
    ASSERT_EQ(report.failures.size(), 1U);
    EXPECT_THAT(report.failures.front().message,
                AllOf(HasSubstr("illegal address"), HasSubstr("the run ended there: CUDA answered that again")));
}

TEST_F(DeviceFuzz, BlamesNoCaseForWhatTheMachineLacks) {
    stage_.meets = [](const Plan&) { return Meets::no_memory; };
    EXPECT_THAT([&] { (void)fuzzed(); }, ThrowsMessage<EnvironmentError>(HasSubstr("not enough device memory")));
}

TEST_F(DeviceFuzz, KeepsItsDevicesAfterAWrongAnswer) {
    options_.fuzz.failures_max = 1;
    stage_.meets = [](const Plan& plan) { return plan.dims.ep() > 1 ? Meets::wrong_answer : Meets::nothing; };
    EXPECT_FALSE(fuzzed().ok);
    EXPECT_EQ(stage_.made, 1);
}

TEST_F(DeviceFuzz, RunsCasesByBothRowsOfTheGroupedGemmAndCountsThem) {
    const FuzzReport report = fuzzed();
    EXPECT_THAT(stage_.gemms, ElementsAre("auto", "portable"));
    const std::int64_t cutlass = report.traits.at("grouped GEMM by cutlass");
    const std::int64_t portable = report.traits.at("grouped GEMM by portable");
    EXPECT_GT(cutlass, 5);
    EXPECT_GT(portable, 5);
    EXPECT_EQ(cutlass + portable, report.laws.at("gpu.send-receive.layer"));
}

TEST_F(DeviceFuzz, RunsACaseByTheSameRowAgain) {
    options_.fuzz.replay = {four_ranks()};
    (void)fuzzed();
    const std::set<std::string> first = stage_.gemms;
    EXPECT_EQ(first.size(), 1U);
    (void)fuzzed();
    EXPECT_EQ(stage_.gemms, first);
}

TEST_F(DeviceFuzz, TakesTheRowAndTheDeadlineThatAreGiven) {
    options_.grouped_gemm = "portable";
    options_.deadline_s = 7;
    (void)fuzzed();
    EXPECT_THAT(stage_.gemms, ElementsAre("portable"));
    EXPECT_THAT(stage_.deadlines, ElementsAre(7));
}

TEST_F(DeviceFuzz, TriesNoLayerThatTheRowGivenDoesNotFit) {
    options_.grouped_gemm = "cutlass";
    stage_.why_no_gemm = "needs bf16";
    const FuzzReport report = fuzzed();
    EXPECT_TRUE(report.ok);
    EXPECT_EQ(report.laws.at("gpu.send-receive.layer"), 0);
    EXPECT_GT(report.laws.at("gpu.send-receive.integers"), 0);
    options_.fuzz.law = "gpu.windows.layer";
    EXPECT_THAT([&] { (void)fuzzed(); }, ThrowsMessage<InputError>(HasSubstr("nothing was judged")));
}

TEST_F(DeviceFuzz, RefusesToReplayMoreRanksThanDevicesRun) {
    Case c = four_ranks();
    c.layout = {.rules = "titan-train", .dp_shard = 32};
    c.sequences = {};
    options_.fuzz.replay = {c};
    EXPECT_THAT([&] { (void)fuzzed(); }, ThrowsMessage<InputError>(HasSubstr("case: world=32: must be at most 16")));
}

TEST_F(DeviceFuzz, SaysThatAReplayJudgedNothing) {
    Case c = four_ranks();
    c.model.dense_layers = {0, 1};
    options_.fuzz.replay = {c};
    EXPECT_THAT([&] { (void)fuzzed(); }, ThrowsMessage<InputError>(HasSubstr("nothing was judged")));
    c.model.dense_layers = {};
    c.layout.ep = 1;
    options_.fuzz.replay = {c};
    EXPECT_TRUE(fuzzed().ok);
    options_.dispatcher = "windows";
    EXPECT_THAT([&] { (void)fuzzed(); }, ThrowsMessage<InputError>(HasSubstr("nothing was judged")));
}

}  // namespace
}  // namespace shardproof::props
