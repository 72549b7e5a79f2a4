#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

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
    if (law.kind == LawKind::ending) return Seen::by_stall;
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

// What the bug list's rows name besides their first fault.
constexpr std::array kVariants{"m08-bias",    "m09-never",      "m09-normed", "m16-pair",       "m17-finite",
                               "m17-nan",     "m17-workspace",  "m20-tie",    "m21-correction", "m21-bias",
                               "m22-swapped", "m22-transposed", "m23-cast",   "m25-saved",      "m28-padding",
                               "m30-stale",   "m31-batch"};

TEST(Mutants, OfTheBugListAreAllPlantedOrLeftOutWithAReason) {
    std::vector<std::string> ids(kVariants.begin(), kVariants.end());
    for (int number = 1; number <= 32; ++number) ids.push_back((number < 10 ? "m0" : "m") + std::to_string(number));
    for (const std::string& id : ids) {
        const bool planted = std::ranges::find(mutants(), id, &Mutant::id) != mutants().end();
        const auto left_out = std::ranges::find(mutants_left_out(), id, &LeftOut::id);
        const bool is_left_out = left_out != mutants_left_out().end();
        EXPECT_NE(planted, is_left_out) << id;
    }
    const std::set<std::string_view> kinds{"exchange", "gradients", "kernels", "models", "quantisation"};
    for (const LeftOut& row : mutants_left_out()) {
        EXPECT_TRUE(std::ranges::find(ids, row.id) != ids.end()) << row.id << " is not of the list";
        EXPECT_TRUE(kinds.contains(row.why.substr(0, row.why.find(':')))) << row.id;
        EXPECT_GT(row.why.size(), row.why.find(':') + 2) << row.id;
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
        const auto law = kill.at("law").get<std::string>();
        const auto known = std::ranges::find(laws(), law, &Law::name);
        ASSERT_TRUE(known != laws().end()) << mutant.id << ": no law is called " << law;
        EXPECT_EQ(seen_by(*known), mutant.seen) << mutant.id << " is not of that kind: " << law;
        EXPECT_NO_THROW(static_cast<void>(parse_case(kill.at("shrunk").get<std::string>()))) << mutant.id;
        EXPECT_TRUE(kill.at("cases").is_number() && kill.at("seconds").is_number()) << mutant.id;
    }
    EXPECT_EQ(told.size(), mutants().size());
    // The same cases without a mutant break nothing: a law that always breaks kills nothing.
    EXPECT_GT(record.at("result").at("unmutated").get<std::int64_t>(), 0);
    EXPECT_TRUE(record.at("result").at("failures").empty());
    EXPECT_EQ(record.at("result").at("ok"), true);
}

TEST(Mutants, ThatNoNumberKillsAreNamedInTheReadme) {
    std::ifstream file{std::filesystem::path{SHARDPROOF_SOURCE_DIR} / "README.md"};
    std::stringstream text;
    text << file.rdbuf();
    const std::string readme = text.str();
    const std::size_t begin = readme.find("`fuzz --mutants` plants");
    ASSERT_NE(begin, std::string::npos);
    const std::string told = readme.substr(begin, readme.find("\n## ", begin) - begin);
    for (const Mutant& mutant : mutants()) {
        const bool named = told.find("`" + std::string{mutant.id} + "`") != std::string::npos;
        EXPECT_EQ(named, mutant.seen != Seen::by_output) << mutant.id;
    }
}

TEST(Mutants, AreHuntedOnCasesThatHoldWithoutThem) {
    FuzzOptions options;
    options.seed = 1;
    options.mutants = {"m13"};
    const FuzzReport holds = fuzz(options);
    EXPECT_TRUE(holds.ok);
    EXPECT_EQ(holds.unmutated, holds.cases) << "of one mutant";
    EXPECT_GT(holds.laws.at("mesh.bijection"), 0) << "all laws, also those that hunt nothing";

    // The product itself is wrong: what it breaks kills no mutant, and it is told.
    options.plant = mutants_named({"m22-swapped"}).front()->plant;
    options.mutant_cases_max = 20;
    options.shrink_seconds = 1;
    const FuzzReport broken = fuzz(options);
    EXPECT_FALSE(broken.ok);
    std::set<std::string> always;
    for (const FuzzFailure& failure : broken.failures) always.insert(failure.law);
    EXPECT_TRUE(always.contains("loading.right_bytes"));
    for (const MutantReport& mutant : broken.mutants) EXPECT_FALSE(always.contains(mutant.law)) << mutant.law;
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
