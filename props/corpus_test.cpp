// Past failures and hand-picked edges, each with every law. A line is never taken out.
#include <gtest/gtest.h>

#include <fstream>

#include "props/fuzz.hpp"

namespace shardproof::props {
namespace {

std::vector<std::string> corpus_lines() {
    std::ifstream file{std::string{SHARDPROOF_SOURCE_DIR} + "/props/corpus/cases.txt"};
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) {
        if (!line.empty() && line.front() != '#') lines.push_back(line);
    }
    return lines;
}

TEST(Corpus, IsThere) { EXPECT_GE(corpus_lines().size(), 12U); }

class CorpusCase : public ::testing::TestWithParam<std::string> {};

TEST_P(CorpusCase, ObeysEveryLaw) {
    FuzzOptions options;
    options.replay = {parse_case(GetParam())};
    const FuzzReport report = fuzz(options);
    EXPECT_TRUE(report.ok) << GetParam() << "\n"
                           << report.failures.front().law << ": " << report.failures.front().message;
}

INSTANTIATE_TEST_SUITE_P(Lines, CorpusCase, ::testing::ValuesIn(corpus_lines()));

}  // namespace
}  // namespace shardproof::props
