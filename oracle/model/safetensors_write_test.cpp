#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <sys/stat.h>

#include "oracle/model/error.hpp"
#include "oracle/model/file_fixtures.hpp"
#include "oracle/model/safetensors.hpp"

namespace shardproof {
namespace {

using fixtures::bytes_of;
using fixtures::TemporaryFolder;
using testing::HasSubstr;
using testing::ThrowsMessage;

using Named = std::pair<std::string, TensorView>;

const std::vector<std::byte> kEight = bytes_of("12345678");

TensorView view_of(DType dtype, Shape shape) {
    const auto bits = num_elements(shape) * bits_of(dtype);
    return {dtype, std::move(shape), std::span(kEight).first(static_cast<std::size_t>(bits / 8))};
}

TEST(WriteSafetensors, WritesTheBytesOfTheReferenceWriter) {
    const auto b = bytes_of("\x80\x3f" + std::string("\0\x40", 2));
    const auto a = bytes_of("\1\2");
    const auto z = bytes_of(std::string("\0\0\x80\x3f", 4));
    const auto i = bytes_of(std::string("\7\0\0\0\0\0\0\0", 8));
    const std::vector<Named> tensors{{"b", {DType::BF16, {1, 2}, b}},
                                     {"a", {DType::BF16, {1}, a}},
                                     {"z\xc3\xa9\"\n", {DType::F32, {}, z}},
                                     {"i", {DType::I64, {1}, i}},
                                     {"u", {DType::U8, {0, 3}, {}}}};
    // Recorded from the Python package safetensors 0.8.0, serialize() of these tensors.
    const std::string recorded =
        std::string("@\1\0\0\0\0\0\0", 8) +
        R"({"__metadata__":{"format":"pt"},"i":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},)"
        "\"z\xc3\xa9\\\"\\n\""
        R"(:{"dtype":"F32","shape":[],"data_offsets":[8,12]},"a":{"dtype":"BF16","shape":[1],"data_offsets":[12,14]},)"
        R"("b":{"dtype":"BF16","shape":[1,2],"data_offsets":[14,18]},"u":{"dtype":"U8","shape":[0,3],"data_offsets":[18,18]}}      )" +
        std::string("\7\0\0\0\0\0\0\0\0\0\x80?\1\2\x80?\0@", 18);
    EXPECT_EQ(to_safetensors(tensors, {{"format", "pt"}}), bytes_of(recorded));
    EXPECT_EQ(to_safetensors({}), bytes_of(std::string("\x8\0\0\0\0\0\0\0{}      ", 16)));
}

TEST(WriteSafetensors, PadsToEightBytesAndNoFurther) {
    for (std::size_t length = 0; length < 8; ++length) {
        const auto bytes = to_safetensors({{std::string(length, 'n'), view_of(DType::U8, {0})}});
        const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        EXPECT_EQ(text.size() % 8, 0U) << length;
        EXPECT_LT(text.size() - text.find_last_not_of(' ') - 1, 8U) << length;
    }
}

TEST(WriteSafetensors, SortsMetadata) {
    const auto bytes = to_safetensors({}, {{"b", "2"}, {"a", "\x01\\"}});
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    EXPECT_THAT(std::string(text), HasSubstr(R"({"__metadata__":{"a":"\u0001\\","b":"2"}})"));
}

RC_GTEST_PROP(WriteSafetensors, IsReadBackAsItWas, (const std::map<std::string, std::uint8_t>& drawn)) {
    std::vector<Named> tensors;
    std::map<std::string, std::string> metadata;
    for (const auto& [name, kind] : drawn) {
        std::string ascii;
        for (const char c : name) ascii += static_cast<char>(c & 0x7F);
        const auto dtype = static_cast<DType>(kind % 22);
        const std::int64_t count = bits_of(dtype) < 8 ? 8 : 8 / (bits_of(dtype) / 8) * (kind / 22 % 2);
        if (!metadata.emplace(ascii, name.empty() ? "" : "x" + ascii).second) continue;
        tensors.emplace_back(ascii, view_of(dtype, {count, 1}));
    }
    const SafetensorsFile file(own_bytes(to_safetensors(tensors, metadata), "memory"));
    RC_ASSERT(file.header().metadata == metadata);
    RC_ASSERT(file.header().entries.size() == tensors.size());
    for (const auto& [name, tensor] : tensors) {
        const SafetensorsEntry* const entry = file.find(name);
        RC_ASSERT(entry != nullptr);
        const TensorView got = file.view(*entry);
        RC_ASSERT(got.dtype == tensor.dtype && got.shape == tensor.shape);
        RC_ASSERT(std::ranges::equal(got.bytes, tensor.bytes));
    }
}

TEST(WriteSafetensors, RefusesNamesThatNoReaderTakes) {
    const TensorView tensor = view_of(DType::U8, {1});
    const auto writing = [](const std::vector<Named>& tensors) { return [tensors] { (void)to_safetensors(tensors); }; };
    EXPECT_THAT(writing({{"a", tensor}, {"b", tensor}, {"a", tensor}}),
                ThrowsMessage<InputError>(HasSubstr("a: a tensor name must not come twice")));
    EXPECT_THAT(writing({{"__metadata__", tensor}}),
                ThrowsMessage<InputError>(HasSubstr("no tensor can have this name")));
    EXPECT_THAT(writing({{"\xff", tensor}}), ThrowsMessage<InputError>(HasSubstr("must be UTF-8")));
    EXPECT_THROW((void)to_safetensors({{"a", TensorView{DType::U8, {2}, tensor.bytes}}}), BugError);
}

TEST(WriteSafetensors, ReplacesAFileWhole) {
    const TemporaryFolder folder;
    fixtures::write_text(folder / "out", "old");
    write_safetensors(folder / "out", {{"a", view_of(DType::F32, {2})}}, {{"k", "v"}});
    EXPECT_EQ(bytes_of(fixtures::read_text(folder / "out")),
              to_safetensors({{"a", view_of(DType::F32, {2})}}, {{"k", "v"}}));
    EXPECT_EQ(folder.num_files(), 1U);
}

TEST(WriteSafetensors, KeepsALinkAndReplacesItsTarget) {
    const TemporaryFolder folder;
    fixtures::write_text(folder / "target", "old");
    std::filesystem::create_symlink("target", folder / "link");
    write_safetensors(folder / "link", {});
    EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
    EXPECT_EQ(fixtures::read_text(folder / "target").size(), 16U);
}

TEST(WriteSafetensors, LeavesNothingWhereItCannotWrite) {
    const TemporaryFolder folder;
    const auto writing = [](const std::filesystem::path& file) { return [file] { write_safetensors(file, {}); }; };
    EXPECT_THAT(writing(folder / "absent/out"),
                ThrowsMessage<InputError>(HasSubstr("absent/out: must be a file that can be written")));
    std::filesystem::create_directory(folder / "directory");
    EXPECT_THAT(writing(folder / "directory"),
                ThrowsMessage<InputError>(HasSubstr("directory: must be a regular file")));
    // As root a rename would put a file in the device's place.
    ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
    EXPECT_THAT(writing(folder / "fifo"), ThrowsMessage<InputError>(HasSubstr("fifo: must be a regular file")));
    EXPECT_EQ(folder.num_files(), 2U);
    // A failure after the temporary file was made: the name is too long to be given.
    EXPECT_THAT(writing(folder / std::string(300, 'n')),
                ThrowsMessage<InputError>(HasSubstr("must be a file that can be written")));
    EXPECT_EQ(folder.num_files(), 2U);
}

}  // namespace
}  // namespace shardproof
