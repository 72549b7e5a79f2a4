// For the tests of the corpora: what a refusal must be like, and where differences must be told.
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
inline void expect_in_readme(const NamedDifferences& differences, const std::filesystem::path& file) {
    std::string readme = fixtures::read_text(file);
    std::ranges::replace(readme, '\n', ' ');
    for (const auto& [words, rows] : differences) {
        EXPECT_NE(readme.find(words), std::string::npos) << "the README does not say: " << words;
        EXPECT_FALSE(rows.empty()) << words;
    }
}

}  // namespace shardproof::props
