// For the tests of the corpora: where they are, and what each refusal must be like.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "oracle/model/file_fixtures.hpp"

namespace shardproof::props {

using NamedDifferences = std::map<std::string, std::vector<std::string>>;  // what the README says -> rows

[[nodiscard]] inline std::filesystem::path source_folder() { return SHARDPROOF_SOURCE_DIR; }
[[nodiscard]] inline std::filesystem::path corpus_folder() { return source_folder() / "props/corpus/safetensors"; }

[[nodiscard]] inline std::set<std::string> names_in(const NamedDifferences& differences) {
    std::set<std::string> names;
    for (const auto& [words, rows] : differences) names.insert(rows.begin(), rows.end());
    return names;
}

[[nodiscard]] inline bool is_one_short_line(std::string_view message) {
    constexpr std::size_t kBytesMax = 1000;
    return message.size() < kBytesMax &&
           std::ranges::none_of(message, [](char c) { return (c >= 0 && c < 0x20) || c == 0x7F; });
}

// Line ends of the README count as spaces.
inline void expect_in_readme(const NamedDifferences& differences) {
    std::string readme = fixtures::read_text(source_folder() / "README.md");
    std::ranges::replace(readme, '\n', ' ');
    for (const auto& [words, rows] : differences) {
        EXPECT_NE(readme.find(words), std::string::npos) << "the README does not say: " << words;
        EXPECT_FALSE(rows.empty()) << words;
    }
}

}  // namespace shardproof::props
