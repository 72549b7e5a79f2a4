#include "oracle/model/config_rope.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "oracle/model/altered_config.hpp"

namespace shardproof {
namespace {

using nlohmann::json;

TEST(Rope, EveryPublishedTypeIsRead) {
    const auto rope = [](const json& scaling) {
        return parse_altered({{"rope_scaling", scaling}}).grouped_query().rope;
    };
    const RopeSpec none{.theta = 1e6, .max_position_embeddings = 40960};
    RopeSpec want = none;
    EXPECT_EQ(rope({{"rope_type", "default"}}), want);
    want.factor = 2.5;
    want.scaling = RopeScaling::linear;
    EXPECT_EQ(rope({{"type", "linear"}, {"factor", 2.5}}), want);
    want.scaling = RopeScaling::dynamic;
    EXPECT_EQ(rope({{"rope_type", "dynamic"}, {"factor", 2.5}}), want);
    want.scaling = RopeScaling::yarn;
    want.factor = 4.0;
    want.original_max_position_embeddings = 32768;
    EXPECT_EQ(rope({{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 32768}}), want);
    EXPECT_EQ(rope({{"type", "yarn"}, {"factor", 4}, {"original_max_position_embeddings", 32768}}), want);
    want = none;
    want.scaling = RopeScaling::llama3;
    want.factor = 8.0;
    want.original_max_position_embeddings = 8192;
    want.low_freq_factor = 2.0;
    want.high_freq_factor = 5.0;
    EXPECT_EQ(rope({{"rope_type", "llama3"},
                    {"factor", 8.0},
                    {"original_max_position_embeddings", 8192},
                    {"low_freq_factor", 2.0},
                    {"high_freq_factor", 5.0}}),
              want);
}

TEST(Rope, YarnsOptionalWordsAreReadAndNullOrZeroMeansNotGiven) {
    const auto rope = [](json words) {
        words["rope_type"] = "yarn";
        return parse_altered({{"rope_scaling", words}}).grouped_query().rope;
    };
    const RopeSpec full = rope({{"factor", 8.0},
                                {"original_max_position_embeddings", 512},
                                {"attention_factor", 1.25},
                                {"beta_fast", 16},
                                {"beta_slow", 2},
                                {"mscale", 0.7},
                                {"mscale_all_dim", 1.3},
                                {"truncate", false}});
    EXPECT_EQ(full, (RopeSpec{.theta = 1e6,
                              .scaling = RopeScaling::yarn,
                              .factor = 8.0,
                              .max_position_embeddings = 40960,
                              .original_max_position_embeddings = 512,
                              .attention_factor = 1.25,
                              .beta_fast = 16.0,
                              .beta_slow = 2.0,
                              .mscale = 0.7,
                              .mscale_all_dim = 1.3,
                              .truncate = false}));
    const RopeSpec silent = rope({{"factor", 8.0},
                                  {"attention_factor", nullptr},
                                  {"beta_fast", nullptr},
                                  {"beta_slow", 0},
                                  {"mscale", 1.0},
                                  {"mscale_all_dim", 0.0}});
    EXPECT_EQ(silent, (RopeSpec{.theta = 1e6,
                                .scaling = RopeScaling::yarn,
                                .factor = 8.0,
                                .max_position_embeddings = 40960,
                                .original_max_position_embeddings = 40960}));
    EXPECT_EQ(rope({{"original_max_position_embeddings", 10240}}).factor, 4.0);
}

}  // namespace
}  // namespace shardproof
