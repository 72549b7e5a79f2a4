// Rows through windows, against the pure functions of sim/plan: exact places, exact bits. All ranks on one GPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <thread>

#include "gpu/dispatchers/windows_test_support.hpp"

namespace shardproof::gpu::windows_test {
namespace {

using testing::HasSubstr;

// Long enough for kernels under compute-sanitizer.
constexpr double kDeadline_s = 60;

// Communicators take a second to make: one world a size for all tests.
class WindowsOnGpu : public testing::Test {
protected:
    void SetUp() override {
        const std::string why = why_no_windows();
        if (!why.empty()) GTEST_SKIP() << why;
    }
    static void TearDownTestSuite() { worlds_.clear(); }
    static World& world_of(std::int64_t num_ranks) {
        std::unique_ptr<World>& world = worlds_[num_ranks];
        if (!world) world = std::make_unique<World>(num_ranks, kDeadline_s);
        return *world;
    }
    static void check_one(std::int64_t num_ranks, const Sizes& sizes, Routing routing, std::uint32_t seed) {
        SCOPED_TRACE(std::to_string(num_ranks) + " ranks, seed " + std::to_string(seed));
        std::mt19937 prng{seed};
        World& world = world_of(num_ranks);
        const ExpertMap map = deal_experts(sizes.num_experts, num_ranks, prng);
        std::vector<RankDispatch> parts = prepare(world, map, sizes);
        Layer layer = make_layer(world, map, sizes, routing, prng);
        make_room(parts, map, layer);
        run_layer(world, parts, layer, sizes);
        world.ledger->wait();
        expect_exact(layer, map, sizes, Beyond::poison);
    }
    static std::vector<std::int64_t> random_rows(std::int64_t num_ranks, std::int64_t rows_max, std::mt19937& prng) {
        std::vector<std::int64_t> rows;
        for (std::int64_t r = 0; r < num_ranks; ++r) {
            rows.push_back(
                prng() % 4 == 0 ? 0 : static_cast<std::int64_t>(prng() % (static_cast<std::size_t>(rows_max) + 1)));
        }
        return rows;
    }

private:
    static inline std::map<std::int64_t, std::unique_ptr<World>> worlds_;
};

// By number of ranks.
class WindowsWorlds : public WindowsOnGpu, public testing::WithParamInterface<std::int64_t> {};
INSTANTIATE_TEST_SUITE_P(All, WindowsWorlds, testing::Values(2, 4, 8),
                         [](const auto& world) { return "of_" + std::to_string(world.param); });

TEST_P(WindowsWorlds, RowsLieWhereThePlansSayAndComeBack) {
    const std::int64_t num_ranks = GetParam();
    for (std::uint32_t seed = 0; seed < 12; ++seed) {
        std::mt19937 prng{seed};
        Sizes sizes{.num_experts = 1 + static_cast<std::int64_t>(prng() % 70)};
        sizes.top_k = 1 + static_cast<std::int64_t>(
                              prng() % static_cast<std::size_t>(std::min<std::int64_t>(8, sizes.num_experts)));
        sizes.hidden = 1 + static_cast<std::int64_t>(prng() % 300);
        sizes.arithmetic = seed % 2 == 0 ? Arithmetic::bf16 : Arithmetic::f32;
        sizes.rows = random_rows(num_ranks, 200, prng);
        check_one(num_ranks, sizes, Routing::random, seed);
    }
}

TEST_F(WindowsOnGpu, EveryWidthOfARow) {
    for (const Arithmetic arithmetic : {Arithmetic::bf16, Arithmetic::f32}) {
        for (const std::int64_t hidden : {1, 2, 3, 4, 5, 6, 7, 8, 31, 64, 127, 255, 1024, 2047}) {
            check_one(4, {.hidden = hidden, .arithmetic = arithmetic, .rows = {17, 0, 1, 40}}, Routing::random, 5);
        }
    }
}

TEST_P(WindowsWorlds, AllRowsToOneRank) {
    std::mt19937 prng{3};
    check_one(GetParam(), {.num_experts = GetParam(), .top_k = 1, .rows = random_rows(GetParam(), 300, prng)},
              Routing::all_to_one, 3);
}

TEST_F(WindowsOnGpu, NoRowsAtAll) { check_one(4, {.rows = {0, 0, 0, 0}}, Routing::random, 1); }

TEST_F(WindowsOnGpu, EveryTokenChoosesEveryExpert) {
    check_one(4, {.num_experts = 7, .top_k = 7, .rows = {9, 64, 0, 33}}, Routing::random, 2);
}

TEST_F(WindowsOnGpu, ALargeLayer) {
    check_one(8, {.num_experts = 128, .top_k = 8, .hidden = 2048, .rows = std::vector<std::int64_t>(8, 512)},
              Routing::random, 4);
}

TEST_P(WindowsWorlds, FiftyLayersInARowWithSlowRanksDoNotOverwriteEachOther) {
    const std::int64_t num_ranks = GetParam();
    World& world = world_of(num_ranks);
    std::mt19937 prng{static_cast<std::uint32_t>(num_ranks)};
    const Sizes sizes{.num_experts = 16,
                      .top_k = 4,
                      .hidden = 96,
                      .rows = std::vector<std::int64_t>(static_cast<std::size_t>(num_ranks), 50)};
    const ExpertMap map = deal_experts(sizes.num_experts, num_ranks, prng);
    std::vector<RankDispatch> parts = prepare(world, map, sizes);
    DeviceBytes ballast{64 << 20};
    std::vector<Layer> layers;
    for (int i = 0; i < 50; ++i) {
        layers.push_back(make_layer(world, map, sizes, i % 5 == 4 ? Routing::all_to_one : Routing::random, prng));
        make_room(parts, map, layers.back());
    }
    for (Layer& layer : layers) {
        // One rank comes late to each layer, so that the others run ahead as far as they may.
        const StreamView late = world.ranks[prng() % world.ranks.size()].stream;
        for (int i = 0; i < 4; ++i) ballast.poison(late);
        run_layer(world, parts, layer, sizes);
    }
    world.ledger->wait();
    for (const Layer& layer : layers) expect_exact(layer, map, sizes, Beyond::anything);
}

TEST_F(WindowsOnGpu, WindowsGrowAndAreKept) {
    for (const std::int64_t num_rows : {10, 3000, 20}) {
        check_one(4, {.hidden = 512, .rows = std::vector<std::int64_t>(4, num_rows)}, Routing::random, 6);
    }
}

TEST_F(WindowsOnGpu, TheHostDoesNotWaitInsideALayer) {
    World& world = world_of(2);
    std::mt19937 prng{1};
    const Sizes sizes{.rows = {30, 20}};
    const ExpertMap map = deal_experts(sizes.num_experts, 2, prng);
    std::vector<RankDispatch> parts = prepare(world, map, sizes);
    Layer layer = make_layer(world, map, sizes, Routing::random, prng);
    make_room(parts, map, layer);
    const std::int64_t waits = world.ledger->num_waits();
    run_layer(world, parts, layer, sizes);
    EXPECT_EQ(world.ledger->num_waits(), waits);
    world.ledger->wait();
}

TEST_F(WindowsOnGpu, ALoneRankKeepsItsRowsWhereTheyAre) {
    World& world = world_of(1);
    std::mt19937 prng{1};
    const Sizes sizes{.rows = {30}};
    const ExpertMap map = deal_experts(sizes.num_experts, 1, prng);
    std::vector<RankDispatch> parts = prepare(world, map, sizes);
    Layer layer = make_layer(world, map, sizes, Routing::random, prng);
    make_room(parts, map, layer);
    run_layer(world, parts, layer, sizes);
    world.ledger->wait();
    EXPECT_EQ(parts[0].arrived.data, parts[0].send.data);
    EXPECT_EQ(parts[0].expert_begin, parts[0].begin_at);
    expect_exact(layer, map, sizes, Beyond::anything);
}

TEST_F(WindowsOnGpu, ARankThatNeverLaunchesEndsTheOthersByTheDeadline) {
    World world{4, 2};
    std::mt19937 prng{1};
    const Sizes sizes{.rows = {30, 20, 10, 5}};
    const ExpertMap map = deal_experts(sizes.num_experts, 4, prng);
    std::vector<RankDispatch> parts = prepare(world, map, sizes);
    const Layer layer = make_layer(world, map, sizes, Routing::random, prng);
    give(parts, layer, sizes);
    world.ledger->wait();
    auto& dispatcher = dynamic_cast<WindowsDispatcher&>(*world.dispatcher);
    EXPECT_EQ(dispatcher.trouble(), std::nullopt);

    const auto begin = std::chrono::steady_clock::now();
    dispatcher.dispatch(std::span{parts}.first(3));
    for (std::size_t i = 0; i < 3; ++i) check(cudaStreamSynchronize(world.ranks[i].stream.raw()));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    EXPECT_GT(took.count(), 1.5);
    EXPECT_LT(took.count(), 4);
    EXPECT_THAT(dispatcher.trouble().value_or(""), HasSubstr("waits for ranks [3], in dispatch, counts"));
    // What comes after has nothing to do, and says so.
    for (std::size_t i = 0; i < 3; ++i) {
        const auto begins = read<std::int32_t>(parts[i].expert_begin, map.held[i].size() + 1);
        EXPECT_THAT(begins, testing::Each(0));
    }
    EXPECT_THROW(world.ledger->wait(), StallError);
}

TEST_F(WindowsOnGpu, StopEndsThoseThatWaitLongBeforeTheDeadline) {
    World world{2, 20};
    std::mt19937 prng{1};
    const Sizes sizes{.rows = {30, 20}};
    const ExpertMap map = deal_experts(sizes.num_experts, 2, prng);
    std::vector<RankDispatch> parts = prepare(world, map, sizes);
    const Layer layer = make_layer(world, map, sizes, Routing::random, prng);
    give(parts, layer, sizes);
    world.ledger->wait();
    auto& dispatcher = dynamic_cast<WindowsDispatcher&>(*world.dispatcher);
    const auto begin = std::chrono::steady_clock::now();
    dispatcher.dispatch(std::span{parts}.first(1));
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
    dispatcher.stop();
    check(cudaStreamSynchronize(world.ranks[0].stream.raw()));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds{5});
}

}  // namespace
}  // namespace shardproof::gpu::windows_test
