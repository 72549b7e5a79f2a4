#include "gpu/session.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gpu/gpu_test_support.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

Session make(const Processes& processes, const std::string& transport, std::int64_t world) {
    return {{.transport = transport, .world = world, .deadline_s = 20}, processes};
}

// A launcher's processes and a layout of another size: bad input, also where there is no GPU.
TEST(SessionTest, RefusesALayoutThatTheLauncherDoesNotFit) {
    Processes four;
    four.launcher = "mpirun";
    four.rank = four.local_rank = 1;
    four.world = four.local_world = 4;
    EXPECT_THAT([&] { make(four, "auto", 8); },
                ThrowsMessage<InputError>(AllOf(HasSubstr("layout"), HasSubstr("4 were launched by mpirun"))));
}

TEST(SessionTest, RefusesLoopbackAcrossProcesses) {
    Processes two;
    two.launcher = "srun";
    two.world = two.local_world = 2;
    EXPECT_THAT(
        [&] { make(two, "loopback", 2); },
        ThrowsMessage<InputError>(AllOf(HasSubstr("--transport=loopback"), HasSubstr("2 were launched by srun"))));
}

TEST(SessionTest, SaysWhatTheMachineLacks) {
    if (!find_machine().devices.empty()) GTEST_SKIP() << "this machine has a GPU";
    EXPECT_THAT([] { make(Processes{}, "auto", 2); }, ThrowsMessage<EnvironmentError>(HasSubstr("no GPU")));
}

TEST(SessionTest, PutsAllRanksOfLoopbackOnOneDevice) {
    SHARDPROOF_NEEDS_GPU();
    const Session session = make(Processes{}, "loopback", 8);
    ASSERT_EQ(session.local_ranks().size(), 8U);
    for (const LocalRank& rank : session.local_ranks()) EXPECT_EQ(rank.device, session.local_ranks().front().device);
    EXPECT_EQ(session.why_not_nccl(), "");  // it was not asked for
}

// Every device has ranks before any has one more than another, and they are in order.
TEST(SessionTest, DealsRanksInOrderOverAllDevices) {
    SHARDPROOF_NEEDS_GPU();
    const auto devices = static_cast<std::int64_t>(find_machine().devices.size());
    if (devices == 1) GTEST_SKIP() << "one GPU only";
    const Session session = make(Processes{}, "nccl", devices);
    for (std::int64_t r = 0; r < devices; ++r)
        EXPECT_EQ(session.local_ranks()[static_cast<std::size_t>(r)].device, static_cast<int>(r));
}

}  // namespace
}  // namespace shardproof::gpu
