#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "oracle/model/error.hpp"
#include "props/fuzz.hpp"
#include "props/laws/law.hpp"
#include "props/mutants/mutant.hpp"

namespace shardproof::props {

static void PrintTo(const Mutant& mutant, std::ostream* out) { *out << mutant.id; }

namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class EachMutant : public ::testing::TestWithParam<Mutant> {};

TEST_P(EachMutant, IsKilledAndShrinksToASmallWorld) {
    FuzzOptions options;
    options.seed = 1;
    options.mutants = {std::string{GetParam().id}};
    options.mutant_cases_max = 500;
    const FuzzReport report = fuzz(options);
    EXPECT_TRUE(report.ok);
    for (const MutantReport& found : report.mutants) {
        if (found.id != GetParam().id) continue;  // a variant has its own test
        ASSERT_TRUE(found.killed) << found.cases_changed << " cases changed of " << found.cases;
        const Case smallest = parse_case(found.shrunk);
        EXPECT_LE(smallest.layout.world(), 4) << found.shrunk;
        EXPECT_LE(num_tokens(smallest), 4) << found.shrunk;
        EXPECT_EQ(smallest.model.layers, 1) << found.shrunk;
        EXPECT_FALSE(found.message.empty());
        // The law that killed it does so again on the shrunk case, and holds there without the mutant.
        if (found.law == kNoCrash) continue;
        Subject mutated{smallest, GetParam().plant};
        Subject healthy{smallest};
        EXPECT_TRUE(try_law(*laws_named(found.law).front(), mutated));
        EXPECT_FALSE(try_law(*laws_named(found.law).front(), healthy));
    }
}

INSTANTIATE_TEST_SUITE_P(Table, EachMutant, ::testing::ValuesIn(mutants().begin(), mutants().end()),
                         [](const auto& row) {
                             std::string name{row.param.id};
                             std::ranges::replace(name, '-', '_');
                             return name;
                         });

TEST(Mutants, ThatNoLawSeesSurvive) {
    // Meshes are right whatever the experts' bytes are.
    FuzzOptions options;
    options.law = "mesh";
    options.mutants = {"m25"};
    options.mutant_cases_max = 30;
    const FuzzReport report = fuzz(options);
    EXPECT_FALSE(report.ok);
    ASSERT_EQ(report.mutants.size(), 1U);
    EXPECT_FALSE(report.mutants[0].killed);
    EXPECT_EQ(report.mutants[0].cases, 30);
    EXPECT_GT(report.mutants[0].cases_changed, 0);
}

TEST(Mutants, LeaveAloneWhereTheyCannotAct) {
    for (const char* id : {"m03", "m05", "m13", "m15", "m22", "m25"}) {
        const Subject subject{parse_case("rules=titan-train"), mutants_named({id}).front()->plant};
        EXPECT_FALSE(subject.is_planted()) << id;
    }
}

TEST(Mutants, AreNamedWithTheirVariants) {
    EXPECT_EQ(mutants_named({"m22"}).size(), 2U);
    EXPECT_EQ(mutants_named({"m22-swapped"}).size(), 1U);
    EXPECT_EQ(mutants_named({}).size(), mutants().size());
    EXPECT_THAT([] { (void)mutants_named({"m99"}); },
                ThrowsMessage<InputError>(HasSubstr("--mutants=m99: must be one of m03, ")));
}

}  // namespace
}  // namespace shardproof::props
