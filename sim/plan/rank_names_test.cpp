#include "sim/plan/rank_names.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace shardproof {
namespace {

std::vector<Rank> first(std::int64_t count) {
    std::vector<Rank> ranks;
    for (std::int64_t r = 0; r < count; ++r) ranks.emplace_back(r);
    return ranks;
}

TEST(RankNames, KeysNameEveryRank) {
    EXPECT_EQ(all_ranks({}), "");
    EXPECT_EQ(all_ranks(first(12)), "0,1,2,3,4,5,6,7,8,9,10,11");
}

TEST(RankNames, ReportsStayShort) {
    EXPECT_EQ(group_text(first(2)), "[0,1]");
    EXPECT_EQ(group_text(first(9)), "[0,1,2,3,4,5,6,7,8]");
    EXPECT_EQ(group_text(first(10)), "[0,1,2,3,4,5,6,7,... 10 ranks]");
    EXPECT_EQ(named_ranks(first(1)), "rank 0");
    EXPECT_EQ(named_ranks(first(8)), "ranks 0, 1, 2, 3, 4, 5, 6, 7");
    EXPECT_EQ(named_ranks(first(13)), "ranks 0, 1, 2, 3, 4, 5, 6, 7 and 5 more");
}

}  // namespace
}  // namespace shardproof
