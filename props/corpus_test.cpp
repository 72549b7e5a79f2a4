// Past failures and hand-picked edges, each with every law. A line is never taken out.
#include "props/corpus.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "props/fuzz.hpp"

namespace shardproof::props {
namespace {

TEST(Corpus, IsThere) { EXPECT_GE(corpus_lines().size(), 12U); }

TEST(Corpus, IsInTheProgramAsItIsInTheRepository) {
    std::ostringstream file;
    file << std::ifstream{std::string{SHARDPROOF_SOURCE_DIR} + "/props/corpus/cases.txt"}.rdbuf();
    EXPECT_EQ(kCorpusText, file.str());
    EXPECT_EQ(corpus().size(), corpus_lines().size());
}

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
