#include "reports/replay.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>

namespace shardproof::reports {
namespace {

std::string word(const std::string& text) {
    const std::string line = ReplayLine{"check"}.word(text).text();
    return line.substr(std::string{"shardproof check "}.size());
}

// What bash takes a word for.
std::string read_by_bash(const std::string& quoted) {
    const std::string command = "exec bash -c \"$(cat <<'END'\nprintf %s " + quoted + "\nEND\n)\"";
    FILE* const pipe = popen(command.c_str(), "r");
    std::string text;
    for (int c = 0; pipe != nullptr && (c = std::fgetc(pipe)) != EOF;) text += static_cast<char>(c);
    if (pipe != nullptr) pclose(pipe);
    return text;
}

TEST(ReplayLine, QuotesWhatAShellWouldCut) {
    EXPECT_EQ(word("a/b-1.0"), "a/b-1.0");
    EXPECT_EQ(word("a b"), "'a b'");
    EXPECT_EQ(word("it's"), "'it'\\''s'");
    EXPECT_EQ(word("caf\xc3\xa9"), "'caf\xc3\xa9'");
    EXPECT_EQ(word("a\\b\""), "'a\\b\"'");
}

TEST(ReplayLine, HoldsNoControlCharacter) {
    EXPECT_EQ(word("a\x1b[31m\nb"), "$'a\\x1b[31m\\x0ab'");
    EXPECT_EQ(word("\x7f'\\"), "$'\\x7f\\'\\\\'");
    EXPECT_EQ(word("\xc2\x9b"), "$'\\xc2\\x9b'");  // a terminal's other escape
    EXPECT_EQ(word("\xff"), "$'\\xff'");
}

TEST(ReplayLine, IsReadBackByBash) {
    if (!std::filesystem::exists("/bin/bash")) GTEST_SKIP() << "no bash";
    for (const std::string text : {"a b", "it's", "a\x1b[31m\nb 1", "\x7f'\\x",
                                   "\xe2\x80\xae"  // NOLINT(misc-misleading-bidirectional): to be escaped
                                   "a1",
                                   "\xff"
                                   "f",
                                   "$HOME`x`\n"})
        EXPECT_EQ(read_by_bash(word(text)), text) << word(text);
}

}  // namespace
}  // namespace shardproof::reports
