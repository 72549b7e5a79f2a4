// A file as a whole: its views, its cost, and what damage does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <ctime>

#include "oracle/model/error.hpp"
#include "oracle/model/file_fixtures.hpp"
#include "oracle/model/safetensors.hpp"

namespace shardproof {
namespace {

using fixtures::bytes_of;
using fixtures::file_text;
using fixtures::repeated;
using fixtures::with_pair;
using fixtures::with_tensor;
using testing::HasSubstr;
using testing::ThrowsMessage;

SafetensorsHeader parse(std::string_view file) { return parse_safetensors(bytes_of(file), "f.safetensors"); }

std::string many_tensors(std::size_t count) {
    std::string json = "{";
    for (std::size_t i = 0; i < count; ++i) {
        json += "\"model.layers." + std::to_string(i) + ".weight\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[" +
                std::to_string(i) + "," + std::to_string(i + 1) + "]},";
    }
    json.back() = '}';
    return file_text(json, std::string(count, 'x'));
}

// Processor time, so that a busy machine does not count.
double seconds_of_parsing(const std::string& file) {
    const std::clock_t begin = std::clock();
    (void)parse(file);
    return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
}

TEST(ReadSafetensors, TakesTimeInProportionToItsSize) {
    const auto wide = [](std::size_t rank) {
        return with_tensor("\"U8\"", "[1" + repeated(",1", rank - 1) + "]", "[0,1]", 1);
    };
    // Eight times the size: eight times the work, give or take; what is quadratic takes 64 times.
    EXPECT_LT(seconds_of_parsing(many_tensors(200'000)), 30 * seconds_of_parsing(many_tensors(25'000)));
    EXPECT_LT(seconds_of_parsing(wide(800'000)), 30 * seconds_of_parsing(wide(100'000)));
}

RC_GTEST_PROP(ReadSafetensors, RefusesOrTakesDamagedFilesButNeverCrashes, ()) {
    std::string file = with_pair("[0,4]", "[4,8]", 8);
    const auto damages = *rc::gen::inRange(1, 4);
    for (int i = 0; i < damages; ++i) {
        const auto place = *rc::gen::inRange<std::size_t>(0, file.size());
        file[place] = static_cast<char>(*rc::gen::inRange(0, 256));
    }
    file.resize(*rc::gen::weightedOneOf<std::size_t>(
        {{3, rc::gen::just(file.size())}, {1, rc::gen::inRange<std::size_t>(0, file.size())}}));
    try {
        std::uint64_t bytes = 0;
        for (const SafetensorsEntry& entry : parse(file).entries) {
            RC_ASSERT(entry.begin <= entry.end && entry.end <= file.size());
            bytes += entry.end - entry.begin;
        }
        RC_ASSERT(bytes <= file.size());
    } catch (const InputError& refused) {
        RC_ASSERT(std::string_view(refused.what()).find('\n') == std::string_view::npos);
    }
}

TEST(SafetensorsFile, ViewsTheBytesOfATensor) {
    const SafetensorsFile file(own_bytes(bytes_of(with_pair("[4,8]", "[0,4]", 8)), "memory"));
    ASSERT_NE(file.find("b"), nullptr);
    EXPECT_EQ(file.find("c"), nullptr);
    EXPECT_EQ(file.find(""), nullptr);
    const TensorView view = file.view(*file.find("b"));
    EXPECT_EQ(view.shape, Shape{4});
    EXPECT_EQ(view.bytes.data(), file.source().bytes().data() + file.source().bytes().size() - 8);
}

TEST(SafetensorsFile, RefusesDimsThatDoNotFit) {
    const SafetensorsFile file(
        own_bytes(bytes_of(with_tensor("\"U8\"", "[0,9223372036854775808]", "[0,0]", 0)), "memory"));
    EXPECT_THAT([&] { (void)file.view(file.header().entries[0]); },
                ThrowsMessage<InputError>("memory: a.shape=[0,9223372036854775808]: a dim must be below 2^63"));
}

TEST(SafetensorsFile, RefusesASourceThatGotShorter) {
    const SafetensorsFile file(own_bytes(bytes_of(with_pair("[0,4]", "[4,8]", 8)), "memory"));
    std::vector<std::byte> cut(file.source().bytes().begin(), file.source().bytes().end() - 1);
    const SafetensorsFile shorter = file.with_source(own_bytes(std::move(cut), "cut"));
    EXPECT_NO_THROW((void)shorter.view(*shorter.find("a")));
    EXPECT_THAT([&] { (void)shorter.view(*shorter.find("b")); },
                ThrowsMessage<InputError>(HasSubstr("must not be shorter than its header says")));
}

}  // namespace
}  // namespace shardproof
