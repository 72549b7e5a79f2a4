#include "gpu/transport/nccl_library.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shardproof::gpu {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using ::testing::ThrowsMessage;

TEST(NcclLibraryTest, SaysWhichFileIsMissingAndWhatIsNeeded) {
    EXPECT_THAT([] { (void)NcclLibrary::open("no/such/libnccl.so.2"); },
                ThrowsMessage<EnvironmentError>(
                    AllOf(HasSubstr("no/such/libnccl.so.2"), HasSubstr("SHARDPROOF_NCCL=FILE"), HasSubstr("2.30.0"))));
}

TEST(NcclLibraryTest, RefusesALibraryThatIsNoNccl) {
    EXPECT_THAT([] { (void)NcclLibrary::open("libm.so.6"); },
                ThrowsMessage<EnvironmentError>(
                    AllOf(HasSubstr("libm.so.6"), HasSubstr("is no NCCL"), HasSubstr("it lacks ncclGetVersion"))));
}

TEST(NcclLibraryTest, PrintsBothFormsOfVersion) {
    EXPECT_EQ(nccl_version_text(23203), "2.32.3");
    EXPECT_EQ(nccl_version_text(21400), "2.14.0");
    EXPECT_EQ(nccl_version_text(2804), "2.8.4");
    EXPECT_EQ(nccl_version_text(0), "0.0.0");
}

TEST(NcclLibraryTest, FindsEveryFunctionOfARealNccl) {
    try {
        const NcclLibrary& library = NcclLibrary::get();
        EXPECT_GE(library.version(), kNcclConfigVersion);
        EXPECT_THAT(NcclLibrary::describe(), AllOf(StartsWith("NCCL 2."), HasSubstr(library.file())));
        EXPECT_STREQ(library.f().ncclGetErrorString(ncclSuccess), "no error");
        EXPECT_NE(library.symbol("ncclAllReduce"), nullptr);
        EXPECT_EQ(library.symbol("ncclNoSuchFunction"), nullptr);
        EXPECT_EQ(&library, &NcclLibrary::get());
        EXPECT_NO_THROW(check(ncclInProgress));
        EXPECT_THAT([] { check(ncclInvalidUsage); },
                    ThrowsMessage<NcclError>(AllOf(HasSubstr("NCCL answered 5"), HasSubstr("nccl_library_test.cpp"))));
    } catch (const EnvironmentError& error) {
        EXPECT_EQ(NcclLibrary::describe(), error.what());
        GTEST_SKIP() << error.what();
    }
}

}  // namespace
}  // namespace shardproof::gpu
