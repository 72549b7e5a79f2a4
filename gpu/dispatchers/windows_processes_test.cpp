// Rows through windows between processes, one a rank, all on one GPU: the same plans, the same bits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <iterator>

#include "gpu/dispatchers/windows_test_support.hpp"
#include "gpu/transport/roles_test_support.hpp"
#include "gpu/transport/store.hpp"

namespace shardproof::gpu::windows_test {
namespace {

using roles_test::Launch;

constexpr double kDeadline_s = 20;
constexpr int kNoWindows = 77;  // exit status: NCCL has no windows between these processes, why is in the file
constexpr const char* kWhyFile = "SHARDPROOF_TEST_WHY";

// What NCCL says where ranks cannot reach each other's memory; any other error is a failure.
bool is_for_want_of_windows(std::string_view error) {
    return error.find("cannot all reach each other's memory") != std::string_view::npos ||
           error.find("NCCL made no symmetric window") != std::string_view::npos;
}

void carry_rows(World& world, std::uint32_t seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    // The same numbers in every process.
    std::mt19937 prng{seed};
    const auto num_ranks = static_cast<std::int64_t>(world.group.size());
    Sizes sizes{.num_experts = 1 + static_cast<std::int64_t>(prng() % 40)};
    sizes.top_k =
        1 + static_cast<std::int64_t>(prng() % static_cast<std::size_t>(std::min<std::int64_t>(4, sizes.num_experts)));
    sizes.hidden = 1 + static_cast<std::int64_t>(prng() % 200);
    sizes.arithmetic = seed % 2 == 0 ? Arithmetic::bf16 : Arithmetic::f32;
    for (std::int64_t r = 0; r < num_ranks; ++r)
        sizes.rows.push_back(prng() % 4 == 0 ? 0 : static_cast<std::int64_t>(prng() % 100));
    const ExpertMap map = deal_experts(sizes.num_experts, num_ranks, prng);
    std::vector<RankDispatch> parts = prepare(world, map, sizes);
    Layer layer = make_layer(world, map, sizes, seed % 3 == 2 ? Routing::all_to_one : Routing::random, prng);
    make_room(parts, map, layer);
    run_layer(world, parts, layer, sizes);
    world.ledger->wait();
    expect_exact(layer, map, sizes, Beyond::poison);
}

// Why there are no windows; empty: rows went through them.
std::string play_windows(const Processes& processes) {
    Store store{processes, 30};
    // The processes start at different times; only what comes after that is held against them.
    EXPECT_EQ(store.barrier("start", 60), std::nullopt);
    std::string why;
    try {
        World world{processes, kDeadline_s, store};
        for (std::uint32_t seed = 0; seed < 8; ++seed) carry_rows(world, seed);
        EXPECT_EQ(store.barrier("rows", 60), std::nullopt);
    } catch (const EnvironmentError& error) {
        why = error.what();
    }
    EXPECT_EQ(store.barrier("end", 60), std::nullopt);
    return why;
}

TEST(WindowsProcessRole, Plays) {
    if (roles_test::wanted_role() != "windows") GTEST_SKIP() << "played by WindowsProcessesTest";
    const Processes processes = find_processes();
    const std::string why = play_windows(processes);
    if (why.empty() || HasFailure()) return;
    if (!is_for_want_of_windows(why)) FAIL() << why;
    if (const char* file = std::getenv(kWhyFile); file != nullptr && processes.rank == 0) std::ofstream{file} << why;
    std::exit(kNoWindows);
}

class WindowsProcessesTest : public ::testing::TestWithParam<Launch> {};

TEST_P(WindowsProcessesTest, RowsLieWhereThePlansSayAndComeBack) {
    const std::string why = why_no_windows();
    if (!why.empty()) GTEST_SKIP() << why;
    const std::string file = testing::TempDir() + "why_no_windows_" + std::to_string(getpid());
    ASSERT_EQ(setenv(kWhyFile, file.c_str(), 1), 0);
    const std::vector<int> statuses = roles_test::statuses_of(GetParam(), "WindowsProcessRole.Plays");
    unsetenv(kWhyFile);
    std::ifstream written{file};
    const std::string said{std::istreambuf_iterator<char>{written}, {}};
    std::remove(file.c_str());
    const bool all_without = std::ranges::all_of(
        statuses, [](int status) { return WIFEXITED(status) && WEXITSTATUS(status) == kNoWindows; });
    if (all_without && !said.empty()) GTEST_SKIP() << said;
    EXPECT_THAT(statuses, testing::Each(0)) << said;
}

INSTANTIATE_TEST_SUITE_P(All, WindowsProcessesTest,
                         testing::Values(Launch{.role = "windows", .world = 2}, Launch{.role = "windows", .world = 4}),
                         roles_test::name_of_launch);

}  // namespace
}  // namespace shardproof::gpu::windows_test
