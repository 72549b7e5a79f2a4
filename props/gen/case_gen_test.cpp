#include "props/gen/case_gen.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <array>

#include "props/gen/draw_case.hpp"
#include "props/gen/traits.hpp"

namespace shardproof::props {
namespace {

std::vector<rc::Shrinkable<Case>> drawn(std::uint64_t seed, int count) {
    rc::Random random{seed};
    const rc::Gen<Case> gen = case_gen();
    std::vector<rc::Shrinkable<Case>> cases;
    cases.reserve(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) cases.push_back(gen(random.split()));
    return cases;
}

TEST(CaseGen, MakesValidCasesOnly) {
    for (const auto& shrinkable : drawn(2, 5000)) EXPECT_NO_THROW(require_valid(shrinkable.value()));
}

TEST(CaseGen, GivesTheSameCasesForTheSameSeed) {
    const auto once = drawn(3, 50);
    const auto again = drawn(3, 50);
    const auto other = drawn(4, 50);
    for (std::size_t i = 0; i < once.size(); ++i) EXPECT_EQ(once[i].value(), again[i].value());
    EXPECT_NE(once[0].value(), other[0].value());
}

TEST(CaseGen, MakesAtLeastHalfOfTheCasesHardAndLeavesNoTraitOut) {
    constexpr int kCases = 4000;
    std::array<int, kNumTraits> counts{};
    for (const auto& shrinkable : drawn(5, kCases)) {
        const Traits traits = traits_of(shrinkable.value());
        for (std::size_t t = 0; t < kNumTraits; ++t) counts[t] += traits.test(t) ? 1 : 0;
    }
    EXPECT_GE(counts[static_cast<std::size_t>(Trait::hard)], kCases / 2);
    for (std::size_t t = 0; t < kNumTraits; ++t) {
        // These two only a run can show.
        if (static_cast<Trait>(t) == Trait::all_to_one || static_cast<Trait>(t) == Trait::empty_expert) continue;
        EXPECT_GE(counts[t], kCases / 200) << name_of(static_cast<Trait>(t));
    }
}

TEST(CaseGen, StaysLayerSized) {
    for (const auto& shrinkable : drawn(6, 2000)) {
        const Case c = shrinkable.value();
        EXPECT_GE(c.model.hidden, 8);
        EXPECT_LE(c.model.hidden, 24);
        EXPECT_LE(num_tokens(c), 8 * c.layout.world());
        EXPECT_LE(c.layout.world(), 16);
    }
}

TEST(CaseGen, ShrinksToValidCasesAndEnds) {
    for (const auto& shrinkable : drawn(7, 100)) {
        // The boldest walk there is, then walks by the last child and by every fifth: none may go round in circles.
        for (const std::size_t step : {std::size_t{1}, std::size_t{1000}, std::size_t{5}}) {
            Case at = shrinkable.value();
            int steps = 0;
            for (auto smaller = smaller_cases(at); !smaller.empty(); smaller = smaller_cases(at)) {
                at = smaller[std::min(step * static_cast<std::size_t>(steps % 3 + 1), smaller.size()) - 1];
                ASSERT_TRUE(is_valid(at)) << print_case(at);
                ASSERT_LT(++steps, 500) << print_case(at);
            }
            EXPECT_EQ(print_case(at), "rules=titan-train") << print_case(shrinkable.value());
        }
    }
}

TEST(CaseGen, ShrinksAsItsTreeSays) {
    const rc::Shrinkable<Case> drawn_case = drawn(8, 1).front();
    std::vector<Case> children;
    auto shrinks = drawn_case.shrinks();
    for (auto next = shrinks.next(); next; next = shrinks.next()) children.push_back(next->value());
    EXPECT_EQ(children, smaller_cases(drawn_case.value()));
}

TEST(Layouts, OfFourRanksAreAllThere) {
    // titan-train, titan-infer-fsdp: dp_replicate, tp and ep each divide what is left; titan-infer: no replicas, ep 1
    // or all.
    const auto layouts = layouts_of_world(4);
    EXPECT_EQ(std::ranges::count(layouts, "titan-train", &CaseLayout::rules), 3 * 3 + 2 * 2 + 1);
    EXPECT_EQ(std::ranges::count(layouts, "titan-infer", &CaseLayout::rules), 3 * 2);
    EXPECT_EQ(std::ranges::count(layouts, "titan-infer-fsdp", &CaseLayout::rules), 3 * 3 + 2 * 2 + 1);
    EXPECT_EQ(std::ranges::count(layouts, "vllm", &CaseLayout::rules), 3 * 2);
    // tp of three sizes; ep * etp divides 4 in six ways.
    EXPECT_EQ(std::ranges::count(layouts, "megatron", &CaseLayout::rules), 3 * 6);
}

}  // namespace
}  // namespace shardproof::props
