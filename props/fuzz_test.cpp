#include "props/fuzz.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "oracle/model/error.hpp"
#include "props/laws/law.hpp"
#include "props/mutants/loading_mutants.hpp"

namespace shardproof::props {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

std::string told(const FuzzReport& report) {
    std::string text;
    for (const FuzzFailure& failure : report.failures)
        text += failure.law + ": " + failure.message + "\n  drawn  " + failure.original + "\n  shrunk " +
                failure.shrunk + "\n";
    return text;
}

TEST(Fuzz, FindsNoFailureAndTriesEveryLaw) {
    FuzzOptions options;
    options.seed = 42;
    options.cases = 600;
    const FuzzReport report = fuzz(options);
    EXPECT_TRUE(report.ok) << told(report);
    EXPECT_EQ(report.cases, 600);
    // Not every case has something for every law to look at: one in eight has equal scores.
    for (const Law& law : laws()) EXPECT_GT(report.laws.at(std::string{law.name}), 600 / law.every / 20) << law.name;
    EXPECT_GE(report.traits.at("hard"), 300);
    for (const char* trait : {"empty_expert", "all_to_one", "exact_ties", "zero_token_rank", "empty_batch"})
        EXPECT_GT(report.traits.at(trait), 0) << trait;
    // A bound that nothing comes near proves little.
    EXPECT_GT(report.max_ratio, 0.01);
    EXPECT_LE(report.max_ratio, 1.0);
    EXPECT_LT(static_cast<double>(report.tokens_with_other_ids), 0.01 * static_cast<double>(report.tokens));
}

TEST(Fuzz, DrawsTheSameCasesForTheSameSeed) {
    FuzzOptions options;
    options.seed = 9;
    options.cases = 60;
    options.law = "router";
    const FuzzReport once = fuzz(options);
    EXPECT_EQ(once.traits, fuzz(options).traits);
    options.seed = 10;
    EXPECT_NE(once.traits, fuzz(options).traits);
}

TEST(Fuzz, StopsAfterItsSeconds) {
    FuzzOptions options;
    options.seconds = 0.3;
    options.law = "mesh";
    const FuzzReport report = fuzz(options);
    EXPECT_GT(report.cases, 1);
    EXPECT_LT(report.seconds, 5.0);
}

TEST(Fuzz, ReplaysACaseWithEveryLaw) {
    FuzzOptions options;
    options.replay = {parse_case("dp_shard=2,ep=2,experts=4,vocab=5,seqs=0:3")};
    const FuzzReport report = fuzz(options);
    EXPECT_TRUE(report.ok) << told(report);
    EXPECT_EQ(report.cases, 1);
    for (const Law& law : laws()) {
        const bool looks = law.name != "router.ties_to_the_lowest";  // no scores are equal there
        EXPECT_EQ(report.laws.at(std::string{law.name}), looks ? 1 : 0) << law.name;
    }
}

TEST(Fuzz, TriesTheCorpusFirstAndCountsItApart) {
    FuzzOptions options;
    options.cases = 4;
    options.corpus = {parse_case("dp_shard=2,ep=2,experts=4,vocab=5,seqs=0:3"), parse_case("rules=titan-train")};
    FuzzReport report = fuzz(options);
    EXPECT_TRUE(report.ok) << told(report);
    EXPECT_EQ(report.corpus, 2);
    EXPECT_EQ(report.cases, 4);
    EXPECT_EQ(report.laws.at(std::string{kNoCrash}), 4);
    options.corpus.clear();
    EXPECT_EQ(report.traits, fuzz(options).traits) << "the random cases are the same without it";

    options.corpus = {parse_case("dp_shard=2,ep=2,experts=4,vocab=5,seqs=0:3")};
    options.plant = mutant::first_experts_everywhere;
    options.failures_max = 1;
    report = fuzz(options);
    EXPECT_FALSE(report.ok);
    EXPECT_EQ(report.cases, 0);
    ASSERT_FALSE(report.failures.empty());
    EXPECT_EQ(report.failures[0].original, print_case(options.corpus[0]));
}

TEST(Fuzz, ShrinksAFailureToAWorldThatShowsItAndStopsAtSoMany) {
    FuzzOptions options;
    options.seed = 3;
    options.cases = 200;
    options.failures_max = 2;
    options.plant = mutant::first_experts_everywhere;
    const FuzzReport report = fuzz(options);
    EXPECT_FALSE(report.ok);
    ASSERT_EQ(report.failures.size(), 2U);
    EXPECT_LT(report.cases, 200);
    for (const FuzzFailure& failure : report.failures) {
        const Case smallest = parse_case(failure.shrunk);
        EXPECT_EQ(smallest.layout.world(), 2) << failure.shrunk;
        EXPECT_EQ(smallest.model.experts, 2) << failure.shrunk;
        EXPECT_LE(num_tokens(smallest), 1) << failure.shrunk;
        EXPECT_NE(failure.original, failure.shrunk);
        // The line alone replays it.
        FuzzOptions again;
        again.replay = {smallest};
        EXPECT_TRUE(fuzz(again).ok);
        again.plant = options.plant;
        const FuzzReport replayed = fuzz(again);
        const auto same = std::ranges::find(replayed.failures, failure.law, &FuzzFailure::law);
        ASSERT_NE(same, replayed.failures.end()) << told(replayed);
        EXPECT_EQ(same->message, failure.message);
        EXPECT_GT(replayed.failures.size(), 1U) << "a replay tells of every law that breaks";
    }
}

TEST(Fuzz, ReportsWhatACaseThrows) {
    FuzzOptions options;
    options.cases = 1;
    options.plant = [](const Healthy&) -> std::optional<Planted> { throw BugError{"planted"}; };
    const FuzzReport report = fuzz(options);
    ASSERT_EQ(report.failures.size(), 1U);
    EXPECT_EQ(report.failures[0].law, kNoCrash);
    EXPECT_EQ(report.failures[0].message, "planted");
    EXPECT_EQ(report.failures[0].shrunk, "rules=titan-train");
}

TEST(Fuzz, RejectsAnUnknownLaw) {
    FuzzOptions options;
    options.law = "gravity";
    EXPECT_THAT([&] { (void)fuzz(options); }, ThrowsMessage<InputError>(HasSubstr("--law=gravity")));
}

TEST(Fuzz, TellsHowFarItIs) {
    FuzzOptions options;
    options.seconds = 0.7;
    options.law = "mesh";
    std::int64_t told_cases = 0;
    options.progress = [&](const FuzzProgress& progress) { told_cases = progress.cases; };
    EXPECT_GE(fuzz(options).cases, told_cases);
    EXPECT_GT(told_cases, 0);
}

}  // namespace
}  // namespace shardproof::props
