#include "oracle/model/byte_source.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oracle/model/error.hpp"
#include "oracle/model/file_fixtures.hpp"

namespace shardproof {
namespace {

using fixtures::TemporaryFolder;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

auto opening(const std::filesystem::path& file) {
    return [file] { (void)map_file(file, "name"); };
}

TEST(MapFile, ShowsTheBytesUnderTheGivenName) {
    const TemporaryFolder folder;
    fixtures::write_text(folder / "a", "bytes");
    const auto source = map_file(folder / "a", "as the index spells it");
    EXPECT_EQ(source->name(), "as the index spells it");
    EXPECT_TRUE(std::ranges::equal(source->bytes(), fixtures::bytes_of("bytes")));
}

TEST(MapFile, TakesAnEmptyFile) {
    const TemporaryFolder folder;
    fixtures::write_text(folder / "empty", "");
    EXPECT_TRUE(map_file(folder / "empty", "empty")->bytes().empty());
}

TEST(MapFile, FollowsALinkAsPublishedCachesNeed) {
    const TemporaryFolder folder;
    std::filesystem::create_directory(folder / "blobs");
    fixtures::write_text(folder / "blobs/hash", "x");
    std::filesystem::create_symlink("blobs/hash", folder / "link");
    EXPECT_EQ(map_file(folder / "link", "link")->bytes().size(), 1U);
}

TEST(MapFile, RefusesWhatIsMissingAndNamesThePath) {
    const TemporaryFolder folder;
    const std::string path = (folder / "absent").string();
    EXPECT_THAT(opening(path), ThrowsMessage<InputError>(path + ": file missing"));
    std::filesystem::create_symlink("nowhere", folder / "dangling");
    EXPECT_THAT(opening(folder / "dangling"), ThrowsMessage<InputError>(HasSubstr("dangling: file missing")));
}

TEST(MapFile, RefusesWhatWouldBlockOrNeverEnd) {
    const TemporaryFolder folder;
    ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
    EXPECT_THAT(opening(folder / "fifo"), ThrowsMessage<InputError>(HasSubstr("must be a regular file, it is a FIFO")));
    EXPECT_THAT(opening(folder.path()), ThrowsMessage<InputError>(HasSubstr("it is a directory")));
    EXPECT_THAT(opening("/dev/zero"), ThrowsMessage<InputError>(AllOf(HasSubstr("/dev/zero"), HasSubstr("a device"))));
    std::filesystem::create_symlink("/dev/zero", folder / "link");
    EXPECT_THAT(opening(folder / "link"), ThrowsMessage<InputError>(HasSubstr("it is a device")));
}

TEST(MapFile, RefusesWhatMayNotBeRead) {
    if (::geteuid() == 0) GTEST_SKIP() << "root reads everything";
    const TemporaryFolder folder;
    fixtures::write_text(folder / "secret", "x");
    std::filesystem::permissions(folder / "secret", std::filesystem::perms::none);
    EXPECT_THAT(opening(folder / "secret"), ThrowsMessage<InputError>(HasSubstr("must be a readable file")));
}

TEST(OwnBytes, KeepsThem) {
    const auto source = own_bytes(fixtures::bytes_of("abc"), "memory");
    EXPECT_EQ(source->name(), "memory");
    EXPECT_EQ(source->bytes().size(), 3U);
}

}  // namespace
}  // namespace shardproof
