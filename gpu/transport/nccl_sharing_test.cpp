#include "gpu/transport/nccl_sharing.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>

#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// The variables are unset for a test, and as they were after it.
class NcclEnvironmentTest : public ::testing::Test {
protected:
    NcclEnvironmentTest() {
        for (std::size_t i = 0; i < kNames.size(); ++i) {
            if (const char* value = std::getenv(kNames[i])) before_[i] = value;
            unsetenv(kNames[i]);
        }
    }
    ~NcclEnvironmentTest() override {
        for (std::size_t i = 0; i < kNames.size(); ++i) {
            if (before_[i])
                setenv(kNames[i], before_[i]->c_str(), 1);
            else
                unsetenv(kNames[i]);
        }
    }
    static std::string value(const char* name) {
        const char* found = std::getenv(name);
        return found == nullptr ? "unset" : found;
    }
    static GpuSharing sharing(int here, int all, int multiprocessors = 132) {
        return {.ranks_of_process = here, .ranks_of_all = all, .num_multiprocessors = multiprocessors};
    }

private:
    static constexpr std::array kNames{"NCCL_MULTI_RANK_GPU_ENABLE", "NCCL_MAX_CTAS", "NCCL_NVLS_ENABLE",
                                       "NCCL_HOSTID"};
    std::array<std::optional<std::string>, kNames.size()> before_;
};

TEST_F(NcclEnvironmentTest, LeavesARankAGpuAlone) {
    prepare_nccl_environment(sharing(1, 1), 22809, Rank{0});
    EXPECT_EQ(value("NCCL_MULTI_RANK_GPU_ENABLE"), "unset");
    EXPECT_EQ(value("NCCL_MAX_CTAS"), "unset");
    EXPECT_EQ(value("NCCL_HOSTID"), "unset");
}

TEST_F(NcclEnvironmentTest, LetsRanksOfOneProcessShareAGpu) {
    prepare_nccl_environment(sharing(8, 8), 23203, Rank{0});
    EXPECT_EQ(value("NCCL_MULTI_RANK_GPU_ENABLE"), "1");
    EXPECT_EQ(value("NCCL_MAX_CTAS"), "4");
    EXPECT_EQ(value("NCCL_NVLS_ENABLE"), "0");
    EXPECT_EQ(value("NCCL_HOSTID"), "unset");
}

TEST_F(NcclEnvironmentTest, TakesFewerCtasOfASmallGpu) {
    prepare_nccl_environment(sharing(8, 8, 20), 23203, Rank{0});
    EXPECT_EQ(value("NCCL_MAX_CTAS"), "1");
}

TEST_F(NcclEnvironmentTest, SaysWhichVersionSharingTakes) {
    EXPECT_THAT([] { prepare_nccl_environment(sharing(2, 2), 22809, Rank{0}); },
                ThrowsMessage<EnvironmentError>(AllOf(HasSubstr("NCCL 2.28.9"), HasSubstr("2.30.0 or later"))));
}

TEST_F(NcclEnvironmentTest, GivesProcessesOnOneGpuHostsOfTheirOwnWhereNcclIsOld) {
    prepare_nccl_environment(sharing(1, 2), 22809, Rank{3});
    EXPECT_EQ(value("NCCL_HOSTID"), "shardproof-3");
    EXPECT_EQ(value("NCCL_MULTI_RANK_GPU_ENABLE"), "unset");
    setenv("NCCL_HOSTID", "mine", 1);
    prepare_nccl_environment(sharing(1, 2), 22809, Rank{3});
    EXPECT_EQ(value("NCCL_HOSTID"), "mine");
}

TEST_F(NcclEnvironmentTest, RefusesWhatHangs) {
    for (const char* ctas : {"5", "32", "0", "-1", "many", ""}) {
        setenv("NCCL_MAX_CTAS", ctas, 1);
        EXPECT_THAT([] { prepare_nccl_environment(sharing(2, 2), 23203, Rank{0}); },
                    ThrowsMessage<EnvironmentError>(
                        AllOf(HasSubstr("NCCL_MAX_CTAS=" + std::string{ctas}), HasSubstr("4 ranks on one GPU hung"))));
    }
    setenv("NCCL_MAX_CTAS", "2", 1);
    EXPECT_NO_THROW(prepare_nccl_environment(sharing(2, 2), 23203, Rank{0}));
    setenv("NCCL_MULTI_RANK_GPU_ENABLE", "0", 1);
    EXPECT_THAT([] { prepare_nccl_environment(sharing(2, 2), 23203, Rank{0}); },
                ThrowsMessage<EnvironmentError>(HasSubstr("NCCL_MULTI_RANK_GPU_ENABLE=0: must be 1")));
}

}  // namespace
}  // namespace shardproof::gpu
