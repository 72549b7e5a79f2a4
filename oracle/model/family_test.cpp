// The seams that families to come need: other layouts are sources, not code.
#include "oracle/model/family.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "oracle/model/error.hpp"

namespace shardproof {
namespace {

TEST(Families, AreFoundByTheirTypeAndNoOther) {
    for (const ModelFamily& family : families()) {
        EXPECT_EQ(family_named(family.model_type), &family);
        ModelConfig config;
        config.family = family.model_type;
        EXPECT_EQ(&family_of(config), &family);
    }
    EXPECT_EQ(family_named("qwen3"), nullptr);
    EXPECT_EQ(family_named(""), nullptr);
}

TEST(Families, EveryRoleHasANameOfItsOwn) {
    std::set<std::string_view> names;
    for (int role = 0; role <= static_cast<int>(Role::lm_head); ++role) {
        EXPECT_FALSE(name_of(static_cast<Role>(role)).empty()) << role;
        names.insert(name_of(static_cast<Role>(role)));
    }
    EXPECT_EQ(names.size(), static_cast<std::size_t>(Role::lm_head) + 1);
}

// Llama 4 publishes one tensor gate_up_proj [E,H,2I] of transposed experts, gate before up: w1 and w3 are [E,I,H].
TEST(Source, SaysWhereLlama4sFusedTransposedExpertsLie) {
    constexpr std::int64_t kExperts = 3;
    constexpr std::int64_t kHidden = 4;
    constexpr std::int64_t kWidth = 5;
    const auto half = [&](std::int64_t begin) {
        return Source{.tensor = "language_model.model.layers.0.feed_forward.experts.gate_up_proj",
                      .tensor_shape = {kExperts, kHidden, 2 * kWidth},
                      .param_box = {{0, kExperts}, {0, kWidth}, {0, kHidden}},
                      .tensor_begin = {0, 0, begin},
                      .param_dim_of = {0, 2, 1},
                      .scale_tensor = "language_model.model.layers.0.feed_forward.experts.gate_up_proj_scale"};
    };
    const Source w1 = half(0);
    const Source w3 = half(kWidth);
    for (std::int64_t e = 0; e < kExperts; ++e) {
        for (std::int64_t i = 0; i < kWidth; ++i) {
            for (std::int64_t h = 0; h < kHidden; ++h) {
                const std::vector<std::int64_t> p{e, i, h};
                EXPECT_THAT(tensor_index(w1, p), testing::ElementsAre(e, h, i));
                EXPECT_THAT(tensor_index(w3, p), testing::ElementsAre(e, h, kWidth + i));
            }
        }
    }
}

// Rows 3..7 of a parameter lie in columns 10..14 of a transposed tensor.
TEST(Source, CountsFromTheBeginsOfBoxAndTensor) {
    const Source part{.tensor = "part",
                      .tensor_shape = {4, 16},
                      .param_box = {{7, 8}, {3, 8}, {0, 4}},
                      .tensor_begin = {0, 10},
                      .param_dim_of = {2, 1}};
    const std::vector<std::int64_t> p{7, 5, 2};
    EXPECT_THAT(tensor_index(part, p), testing::ElementsAre(2, 12));
    const std::vector<std::int64_t> too_short{7, 5};
    EXPECT_THROW((void)tensor_index(part, too_short), BugError);
}

TEST(RouterSpec, CanSayThatScoresMultiplyTheInput) {
    const RouterSpec llama4{.num_experts = 16, .top_k = 1, .score = ScoreFunction::sigmoid, .score_on = ScoreOn::input};
    RouterSpec qwen3 = llama4;
    EXPECT_EQ(RouterSpec{}.score_on, ScoreOn::output);
    qwen3.score_on = ScoreOn::output;
    EXPECT_NE(llama4, qwen3);
}

}  // namespace
}  // namespace shardproof
