#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "oracle/model/error.hpp"
#include "props/cases.hpp"
#include "props/fuzz.hpp"
#include "props/laws/law.hpp"
#include "props/mutants/mutant.hpp"

namespace shardproof::props {

static void PrintTo(const Mutant& mutant, std::ostream* out) { *out << mutant.id; }

namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

Seen seen_by(const Law& law) {
    if (law.is_static()) return Seen::by_statics_only;
    if (law.kind == LawKind::loading) return Seen::by_bytes;
    return law.kind == LawKind::output ? Seen::by_output : Seen::by_relation;
}

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
        EXPECT_LE(num_tokens(smallest), 6) << found.shrunk;
        EXPECT_EQ(smallest.model.layers, 1) << found.shrunk;
        EXPECT_FALSE(found.message.empty());
        // The law that killed it does so again on the shrunk case, and holds there without the mutant.
        ASSERT_NE(found.law, kNoCrash) << "a crash is seen by no law";
        EXPECT_EQ(seen_by(*laws_named(found.law).front()), GetParam().seen) << found.law;
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

TEST(Mutants, OfTheBugListAreAllPlantedOrLeftOutWithAReason) {
    for (int number = 1; number <= 32; ++number) {
        const std::string id = (number < 10 ? "m0" : "m") + std::to_string(number);
        const bool planted = std::ranges::any_of(
            mutants(), [&](const Mutant& mutant) { return mutant.id.substr(0, mutant.id.find('-')) == id; });
        const auto left_out = std::ranges::find(mutants_left_out(), id, &LeftOut::id);
        const bool is_left_out = left_out != mutants_left_out().end();
        EXPECT_NE(planted, is_left_out) << id;
        if (!is_left_out) continue;
        const std::string_view kind = left_out->why.substr(0, left_out->why.find(':'));
        EXPECT_TRUE(kind == "gradients" || kind == "quantisation" || kind == "kernels") << id;
    }
}

TEST(Mutants, ThatOnlyStaticsSeeRunAsIfNothingWereWrong) {
    for (const Mutant& mutant : mutants()) {
        if (mutant.seen != Seen::by_statics_only) continue;
        Cases cases{1};
        int planted = 0;
        for (int i = 0; i < 80; ++i) {
            const Case c = cases.next().value();
            Subject subject{c, mutant.plant};
            if (!subject.is_planted()) continue;
            ++planted;
            for (const Law& law : laws()) {
                if (law.is_static()) continue;
                const auto broken = try_law(law, subject);
                EXPECT_FALSE(broken) << mutant.id << " " << print_case(c) << " " << broken->law << broken->message;
            }
        }
        EXPECT_GT(planted, 3) << mutant.id;
    }
}

TEST(Mutants, AreAllNamedByTheRecordOfTheLastHunt) {
    std::ifstream file{std::filesystem::path{SHARDPROOF_SOURCE_DIR} / "reports/records/mutants.jsonl"};
    std::string line;
    std::string last;
    while (std::getline(file, line)) last = line;
    const nlohmann::json record = nlohmann::json::parse(last);
    for (const char* key : {"commit", "machine", "date"})
        EXPECT_FALSE(record.at(key).get<std::string>().empty()) << key;
    EXPECT_TRUE(record.at("result").at("seed").is_number());
    std::map<std::string, nlohmann::json> told;
    for (const nlohmann::json& mutant : record.at("result").at("mutants")) told[mutant.at("id")] = mutant;
    for (const Mutant& mutant : mutants()) {
        ASSERT_TRUE(told.contains(std::string{mutant.id})) << mutant.id;
        const nlohmann::json& kill = told.at(std::string{mutant.id});
        EXPECT_EQ(kill.at("killed"), true) << mutant.id;
        EXPECT_FALSE(kill.at("law").get<std::string>().empty()) << mutant.id;
        EXPECT_NO_THROW(static_cast<void>(parse_case(kill.at("shrunk").get<std::string>()))) << mutant.id;
        EXPECT_TRUE(kill.at("cases").is_number() && kill.at("seconds").is_number()) << mutant.id;
    }
    EXPECT_EQ(told.size(), mutants().size());
}

TEST(Mutants, ThatNoLawSeesSurvive) {
    // Meshes are right whatever the experts' bytes are.
    FuzzOptions options;
    options.law = "mesh";
    options.mutants = {"m25"};
    options.mutant_cases_max = 30;
    const FuzzReport report = fuzz(options);
    EXPECT_FALSE(report.ok);
    ASSERT_EQ(report.mutants.size(), 2U);
    for (const MutantReport& mutant : report.mutants) {
        EXPECT_FALSE(mutant.killed) << mutant.id;
        EXPECT_EQ(mutant.cases, 30);
        EXPECT_GT(mutant.cases_changed, 0);
    }
}

TEST(Mutants, LeaveAloneWhereTheyCannotAct) {
    for (const char* id : {"m01", "m02", "m03", "m04", "m05", "m06", "m07", "m09", "m12", "m13", "m14",
                           "m15", "m16", "m20", "m22", "m24", "m25", "m27", "m28", "m31", "m32"}) {
        const Subject subject{parse_case("rules=titan-train"), mutants_named({id}).front()->plant};
        EXPECT_FALSE(subject.is_planted()) << id;
    }
}

TEST(Mutants, AreNamedWithTheirVariants) {
    EXPECT_EQ(mutants_named({"m22"}).size(), 3U);
    EXPECT_EQ(mutants_named({"m22-swapped"}).size(), 1U);
    EXPECT_EQ(mutants_named({}).size(), mutants().size());
    EXPECT_THAT([] { (void)mutants_named({"m99"}); },
                ThrowsMessage<InputError>(HasSubstr("--mutants=m99: must be one of m01, ")));
}

}  // namespace
}  // namespace shardproof::props
