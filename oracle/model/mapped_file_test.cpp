// Files that change while they are mapped.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <numeric>
#include <thread>

#include "oracle/model/byte_source.hpp"
#include "oracle/model/error.hpp"
#include "oracle/model/file_fixtures.hpp"
#include "oracle/model/lost_pages.hpp"

namespace shardproof {
namespace {

using fixtures::TemporaryFolder;
using testing::AllOf;
using testing::HasSubstr;
using testing::Throws;
using testing::ThrowsMessage;

constexpr std::int64_t kBytes = std::int64_t{1} << 20;

struct MappedOnes {
    TemporaryFolder folder;
    std::filesystem::path file = folder / "ones";
    std::shared_ptr<const ByteSource> source;
    MappedOnes() {
        fixtures::write_text(file, std::string(kBytes, '\1'));
        source = map_file(file, "ones");
    }
    [[nodiscard]] std::int64_t sum() const {
        const auto bytes = source->bytes();
        return std::accumulate(bytes.begin(), bytes.end(), std::int64_t{0},
                               [](std::int64_t so_far, std::byte byte) { return so_far + std::to_integer<int>(byte); });
    }
    void cut_to(std::int64_t bytes) const { ASSERT_EQ(::truncate(file.c_str(), bytes), 0); }
};

TEST(MappedFile, ThatNobodyTouchesIsIntact) {
    const MappedOnes ones;
    EXPECT_EQ(ones.sum(), kBytes);
    EXPECT_NO_THROW(ones.source->require_intact());
}

TEST(MappedFile, CutShortReadsAsZerosAndSaysFileAndOffset) {
    const MappedOnes ones;
    ones.cut_to(kBytes / 4);
    EXPECT_EQ(ones.sum(), kBytes / 4);
    EXPECT_EQ(ones.sum(), kBytes / 4);
    EXPECT_THAT([&] { ones.source->require_intact(); },
                ThrowsMessage<InputError>(
                    AllOf(HasSubstr("ones: was cut short"), HasSubstr("offset 262144"), HasSubstr("it had 1048576"))));
}

// The rest of the last page reads as zeros without any signal.
TEST(MappedFile, CutShortWithinAPageIsSeenToo) {
    const MappedOnes ones;
    ones.cut_to(kBytes - 1);
    EXPECT_EQ(ones.sum(), kBytes - 1);
    EXPECT_THAT([&] { ones.source->require_intact(); }, ThrowsMessage<InputError>(HasSubstr("offset 1048575")));
}

TEST(MappedFile, ThatCouldNotBeReadSaysTheOffset) {
    const MappedOnes ones;
    ones.cut_to(8192);
    EXPECT_EQ(ones.sum(), 8192);
    ones.cut_to(kBytes);  // as long as before: it is not the length that explains it
    EXPECT_THAT([&] { ones.source->require_intact(); },
                ThrowsMessage<EnvironmentError>(HasSubstr("ones cannot be read at offset 8192")));
}

TEST(MappedFile, WrittenToIsSeen) {
    const MappedOnes ones;
    const timespec later[2] = {{.tv_sec = 2000000000, .tv_nsec = 0}, {.tv_sec = 2000000000, .tv_nsec = 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, ones.file.c_str(), later, 0), 0);
    EXPECT_THAT([&] { ones.source->require_intact(); }, ThrowsMessage<InputError>(HasSubstr("was written to")));
}

TEST(MappedFile, ReplacedOrRemovedStaysWhatItWas) {
    const MappedOnes ones;
    fixtures::write_text(ones.folder / "other", "x");
    std::filesystem::rename(ones.folder / "other", ones.file);
    EXPECT_EQ(ones.sum(), kBytes);
    EXPECT_NO_THROW(ones.source->require_intact());
    std::filesystem::remove(ones.file);
    EXPECT_NO_THROW(ones.source->require_intact());
}

TEST(MappedFile, ManyThreadsMayMeetTheEndAtOnce) {
    const MappedOnes ones;
    ones.cut_to(4096);
    std::vector<std::thread> threads;
    std::vector<std::int64_t> sums(8);
    for (std::int64_t& sum : sums) threads.emplace_back([&] { sum = ones.sum(); });
    for (std::thread& thread : threads) thread.join();
    EXPECT_THAT(sums, testing::Each(4096));
    EXPECT_THAT([&] { ones.source->require_intact(); }, Throws<InputError>());
}

// A mapping that nobody watches: the program ends as it always did, also after a watched one went.
TEST(MappedFileDeathTest, SigbusElsewhereStillEndsTheProgram) {
    const auto read_past_the_end = [] {
        const MappedOnes ones;
        const int file = ::open(ones.file.c_str(), O_RDONLY);
        const void* const place = ::mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, file, 0);
        ones.cut_to(0);
        const volatile char* const bytes = static_cast<const char*>(place);
        (void)bytes[kBytes / 2];
    };
    EXPECT_EXIT(read_past_the_end(), testing::KilledBySignal(SIGBUS), "");
}

TEST(LostPages, ForgetsWhatAnEarlierMappingLost) {
    {
        const MappedOnes ones;
        ones.cut_to(0);
        EXPECT_EQ(ones.sum(), 0);
    }
    const MappedOnes again;
    EXPECT_EQ(again.sum(), kBytes);
    EXPECT_NO_THROW(again.source->require_intact());
}

}  // namespace
}  // namespace shardproof
