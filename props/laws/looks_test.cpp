// A law that holds where it has nothing to look at proves nothing: it says so, and such cases are not counted.
#include <gtest/gtest.h>

#include <ostream>

#include "props/cases.hpp"
#include "props/fuzz.hpp"
#include "props/laws/law.hpp"
#include "props/mutants/dispatch_mutants.hpp"

namespace shardproof::props {
namespace {

struct Blank {
    const char* test_name;
    const char* laws;  // a law or a subject
    const char* line;
};

constexpr const char* kNoTokens = "dp_shard=2,ep=2,experts=4,top_k=2,vocab=5,seqs=0:0+1:0";
constexpr const char* kDense = "dp_shard=2,experts=2,dense_layers=0,dense_hidden=2,vocab=5,seqs=0:3+1:2";
constexpr const char* kOneRank = "experts=4,top_k=2,vocab=5,seqs=0:3";

const Blank kBlanks[] = {
    {"groups_of_one", "mesh.innermost_are_neighbours", kOneRank},
    {"all_is_read", "loading.reads_only_planned_bytes", kOneRank},
    {"nobody_to_wait_for", "world.ends", kOneRank},
    {"nobody_to_be_in_step_with", "world.ranks_are_in_step", kOneRank},
    {"one_schedule", "world.any_schedule", kOneRank},
    {"no_collective", "cost.forecast_is_count", kOneRank},
    {"no_token_to_judge", "model.within_bounds", kNoTokens},
    {"no_token_of_layouts", "world.layouts_agree", kNoTokens},
    {"no_token_scheduled", "world.any_schedule", kNoTokens},
    {"no_token_routed", "router", kNoTokens},
    {"no_token_dispatched", "dispatch", kNoTokens},
    {"no_token_of_a_batch", "batch", kNoTokens},
    {"no_token_of_experts", "experts", kNoTokens},
    {"no_token_to_move", "judge", kNoTokens},
    {"no_router", "router", kDense},
    {"no_dispatch", "dispatch", kDense},
    {"no_experts", "experts", kDense},
    {"no_equal_scores", "router.ties_to_the_lowest", "dp_shard=2,experts=4,top_k=2,vocab=5,seqs=0:3"},
    {"one_expert", "experts.order_does_not_matter", "vocab=5,seqs=0:3"},
    {"one_expert_ties_with_none", "router.ties_to_the_lowest", "vocab=5,seqs=0:3,routing=exact_ties"},
    {"equal_experts", "experts.order_does_not_matter", "experts=4,vocab=5,seqs=0:3,routing=exact_ties"},
    {"all_chosen", "experts.top_k_is_of_all_scores", "experts=4,top_k=4,vocab=5,seqs=0:3"},
};

void PrintTo(const Blank& row, std::ostream* out) { *out << row.laws; }

class EachBlank : public ::testing::TestWithParam<Blank> {};

TEST_P(EachBlank, HoldsAndIsSaidToBeOne) {
    Subject subject{parse_case(GetParam().line)};
    for (const Law* law : laws_named(GetParam().laws)) {
        const auto broken = try_law(*law, subject);
        EXPECT_FALSE(broken) << broken->law << ": " << broken->message;
        EXPECT_FALSE(subject.looked()) << law->name;
    }
}

INSTANTIATE_TEST_SUITE_P(Cases, EachBlank, ::testing::ValuesIn(kBlanks),
                         [](const auto& row) { return std::string{row.param.test_name}; });

TEST(Looks, AreTakenByEveryLawWhereThereIsSomethingToSee) {
    for (const char* routing : {"random", "exact_ties"}) {
        Subject subject{
            parse_case("dp_shard=2,tp=2,ep=2,experts=4,top_k=2,heads=2,kv_heads=2,moe_hidden=4,vocab=7,"
                       "seqs=0:3+1:2,routing=" +
                       std::string{routing})};
        const bool tied = std::string_view{routing} == "exact_ties";
        for (const Law& law : laws()) {
            const auto broken = try_law(law, subject);
            EXPECT_FALSE(broken) << broken->law << ": " << broken->message;
            const bool blank = law.name == (tied ? "experts.order_does_not_matter" : "router.ties_to_the_lowest");
            EXPECT_EQ(subject.looked(), !blank) << law.name << " " << routing;
        }
    }
}

TEST(Looks, AreNotTakenAtRunsThatStalled) {
    Subject subject{parse_case("dp_shard=2,ep=2,experts=4,top_k=2,vocab=5,seqs=0:3"), mutant::idle_rank_skips_exchange};
    ASSERT_TRUE(try_law(*laws_named("world.ends").front(), subject));
    EXPECT_TRUE(subject.looked());
    for (const char* name : {"cost", "judge", "batch", "experts", "world.any_schedule", "world.layouts_agree",
                             "world.ranks_are_in_step"}) {
        for (const Law* law : laws_named(name)) {
            EXPECT_FALSE(try_law(*law, subject)) << law->name;
            EXPECT_FALSE(subject.looked()) << law->name;
        }
    }
}

// What a case must have for a law to look at it, by the case alone.
struct Counted {
    const char* law;
    bool (*has_it)(const Case&);
};
bool has_tokens(const Case& c) { return num_tokens(c) > 0; }
bool has_rows(const Case& c) {
    return has_tokens(c) && static_cast<std::int64_t>(c.model.dense_layers.size()) < c.model.layers;
}
const Counted kCounted[] = {
    {"mesh.bijection", [](const Case&) { return true; }},
    {"world.ends", [](const Case& c) { return c.layout.world() > 1; }},
    {"model.within_bounds", has_tokens},
    {"router.choices_are_sound", has_rows},
    {"router.ties_to_the_lowest",
     [](const Case& c) { return has_rows(c) && c.model.experts > 1 && c.model.routing == RoutingFlavour::exact_ties; }},
    {"dispatch.counts_agree", has_rows},
    {"batch.pads_change_nothing", has_tokens},
    {"batch.split_and_order_do_not_matter", has_tokens},
    {"experts.output_is_linear", has_rows},
    {"experts.top_k_is_of_all_scores", [](const Case& c) { return has_rows(c) && c.model.top_k < c.model.experts; }},
};

TEST(Looks, AreWhatFuzzCounts) {
    constexpr std::int64_t kCases = 60;
    for (const Counted& row : kCounted) {
        FuzzOptions options;
        options.seed = 5;
        options.cases = kCases;
        options.law = row.law;
        std::int64_t want = 0;
        Cases cases{options.seed};
        for (std::int64_t i = 0; i < kCases; ++i) want += row.has_it(cases.next().value()) ? 1 : 0;
        const FuzzReport report = fuzz(options);
        EXPECT_TRUE(report.ok) << row.law;
        EXPECT_EQ(report.laws.at(row.law), want) << row.law;
        EXPECT_EQ(report.laws.at(std::string{kNoCrash}), kCases) << row.law;
        EXPECT_GT(want, 0) << row.law;
    }
}

}  // namespace
}  // namespace shardproof::props
