#include "oracle/model/error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "oracle/model/result.hpp"

namespace shardproof {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(InputError, LeavesEmptyPartsOut) {
    EXPECT_STREQ(InputError({"config.json", "num_experts", "-1", "must be >= 1"}).what(),
                 "config.json: num_experts=-1: must be >= 1");
    EXPECT_STREQ(InputError({"config.json", "num_experts", "", "missing"}).what(), "config.json: num_experts: missing");
    EXPECT_STREQ(InputError({"a.safetensors", "", "3", "too short"}).what(), "a.safetensors: 3: too short");
    EXPECT_STREQ(InputError({"", "", "", "no model"}).what(), "no model");
}

TEST(InputError, IsOneLineWhateverTheFileSays) {
    const InputError error({"a\nb", "x\x1b[31m", "\xff", "r\r"});
    EXPECT_STREQ(error.what(), "a\\nb: x\\x1b[31m=\\xff: r\\r");
    EXPECT_EQ(error.parts().field, "x\x1b[31m");
}

TEST(InputError, DoesNotEscapeTwiceWhatIsPrintable) {
    EXPECT_STREQ(InputError({"f", printable("a\\\"\n"), "", "r"}).what(), "f: a\\\\\\\"\\n: r");
}

TEST(Printable, EscapesWhatMovesTheCursorOrReversesText) {
    EXPECT_EQ(printable(std::string_view("a\0b\t\"\\", 6)), "a\\x00b\\t\\\"\\\\");
    // NOLINTNEXTLINE(misc-misleading-bidirectional): that is what must be escaped
    EXPECT_EQ(printable("\x7f\xc2\x85\xe2\x80\xa8\xe2\x80\xae\xef\xbb\xbf"), "\\x7f\\u0085\\u2028\\u202e\\ufeff");
    EXPECT_EQ(printable("caf\xc3\xa9 \xf0\x9f\x98\x80"), "caf\xc3\xa9 \xf0\x9f\x98\x80");
}

TEST(Printable, EscapesBytesThatAreNoUtf8) {
    EXPECT_EQ(printable("\xc0\x80"), "\\xc0\\x80");                  // overlong
    EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");         // surrogate
    EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // above U+10FFFF
    EXPECT_EQ(printable(std::string_view("\xe2\x82\xac", 2)), "\\xe2\\x82");  // cut short
}

TEST(Printable, CutsAtACharacterBoundary) {
    EXPECT_EQ(printable("abcdefgh", 8), "abcdefgh");
    EXPECT_EQ(printable("abcdefghi", 8), "abcde...");
    EXPECT_EQ(printable("abcd\xc3\xa9 and more", 8), "abcd...");
    EXPECT_EQ(printable("abc\n and more", 8), "abc\\n...");
    EXPECT_EQ(printable("abcd\n and more", 8), "abcd...");
}

RC_GTEST_PROP(Printable, HoldsNoControlByteAndKeepsItsLength, (const std::string& text)) {
    const std::string shown = printable(text, 40);
    RC_ASSERT(shown.size() <= 40U);
    RC_ASSERT(std::ranges::none_of(shown, [](unsigned char c) { return c < 0x20 || c == 0x7F; }));
}

TEST(Assertion, NamesItsConditionAndPlace) {
    EXPECT_THAT([] { SP_ASSERT(1 + 1 == 3); }, ThrowsMessage<BugError>(HasSubstr("1 + 1 == 3 does not hold")));
    EXPECT_THAT([] { SP_ASSERT(false); }, ThrowsMessage<BugError>(HasSubstr("error_test.cpp:")));
    EXPECT_NO_THROW(SP_ASSERT(true));
}

TEST(EnvironmentError, SaysWhatIsMissingAndWhatToDo) {
    EXPECT_STREQ(EnvironmentError("no GPU", "use --backend sim").what(), "no GPU: use --backend sim");
}

TEST(StageName, IsTheParameterPrefix) {
    EXPECT_EQ(name_of(StageKind::embeddings, -1), "tok_embeddings");
    EXPECT_EQ(name_of(StageKind::layer, 3), "layers.3");
    EXPECT_EQ(name_of(StageKind::head, -1), "lm_head");
}

}  // namespace
}  // namespace shardproof
