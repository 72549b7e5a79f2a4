#include "sim/plan/dispatch_plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <numeric>

#include "oracle/model/error.hpp"
#include "sim/plan/test_params.hpp"

namespace shardproof {
namespace {

using ::testing::ElementsAre;

Plan plan_of(std::int64_t experts, const RawDims& raw, std::string_view rules) {
    const testing::Sizes sizes{.experts = experts};
    std::vector<Parameter> parameters = testing::parameters_of(sizes);
    const std::vector<DType> dtypes(parameters.size(), DType::F32);
    return make_plan(testing::config_of(sizes), std::move(parameters), dtypes, ParallelDims::parse(raw),
                     rule_set_named(rules));
}

std::vector<ExpertId> ids(std::initializer_list<std::int64_t> values) {
    std::vector<ExpertId> result;
    for (const std::int64_t value : values) result.emplace_back(value);
    return result;
}

// Experts dealt to peers as the lists say.
ExpertMap map_of(const std::vector<std::vector<std::int64_t>>& held) {
    ExpertMap map;
    map.num_peers = static_cast<std::int64_t>(held.size());
    std::size_t num_experts = 0;
    for (const auto& list : held) num_experts += list.size();
    map.home.resize(num_experts);
    for (std::size_t peer = 0; peer < held.size(); ++peer) {
        map.held.emplace_back();
        for (std::size_t local = 0; local < held[peer].size(); ++local) {
            map.held.back().emplace_back(held[peer][local]);
            map.home[static_cast<std::size_t>(held[peer][local])] = {static_cast<std::int64_t>(peer),
                                                                     LocalExpert{static_cast<std::int64_t>(local)}};
        }
    }
    return map;
}

TEST(ExpertMap, FollowsTheEpAxisAndNotFsdp) {
    const ExpertMap map = expert_map(plan_of(8, {.dp_shard = 4, .tp = 2, .ep = 4, .world = {}}, "titan-train"), 0);
    EXPECT_EQ(map.num_peers, 4);
    EXPECT_THAT(map.held[1], ElementsAre(ExpertId{2}, ExpertId{3}));
    EXPECT_EQ(map.home[7].peer, 3);
    EXPECT_EQ(map.home[7].local, LocalExpert{1});
}

TEST(ExpertMap, WithoutExpertParallelismOnePeerHoldsAll) {
    const ExpertMap map = expert_map(plan_of(8, {.dp_shard = 2, .tp = 2, .ep = 1, .world = {}}, "titan-train"), 0);
    EXPECT_EQ(map.num_peers, 1);
    EXPECT_EQ(map.held[0].size(), 8U);
    EXPECT_EQ(map.home[5].local, LocalExpert{5});
}

TEST(ExpertMap, GivesTheLastPeerTheRestWhereEpDoesNotDivide) {
    const ExpertMap map = expert_map(plan_of(10, {.dp_shard = 4, .ep = 4, .world = {}}, "titan-infer"), 0);
    EXPECT_EQ(map.held[2].size(), 3U);
    EXPECT_THAT(map.held[3], ElementsAre(ExpertId{9}));
    const ExpertMap empty = expert_map(plan_of(9, {.dp_shard = 6, .ep = 6, .world = {}}, "titan-infer"), 0);
    EXPECT_TRUE(empty.held[5].empty());
}

TEST(ExpertMap, AnOwnerListDecidesTheStorageOrder) {
    Plan plan = plan_of(4, {.dp_shard = 2, .ep = 2, .world = {}}, "titan-infer");
    plan.params[plan.param_idx("layers.0.moe.experts.w1")].placement.placements[3] =
        Owners{0, {{{3, 4}, {0, 1}}, {{1, 3}}}};
    const ExpertMap map = expert_map(plan, 0);
    EXPECT_THAT(map.held[0], ElementsAre(ExpertId{3}, ExpertId{0}));
    EXPECT_EQ(map.home[0].local, LocalExpert{1});
}

// Facts 4.2: n = 3, K = 2.
TEST(PlanDispatch, WorkedExampleOnOneRank) {
    const DispatchPlan plan = plan_dispatch(map_of({{0, 1, 2}}), ids({2, 0, 0, 1, 2, 1}), 2);
    EXPECT_THAT(plan.rows_to_expert, ElementsAre(2, 2, 2));
    EXPECT_THAT(plan.rows_to_peer, ElementsAre(6));
    EXPECT_THAT(plan.slot_token, ElementsAre(0, 1, 1, 2, 0, 2));
    EXPECT_THAT(plan.slot_choice, ElementsAre(1, 0, 1, 1, 0, 0));
    EXPECT_THAT(plan.slot_of, ElementsAre(4, 0, 1, 2, 5, 3));
}

// Expert 0 lies on both peers: its choices alternate by their place in the list, and each peer is told of its own only.
TEST(PlanDispatch, AnExpertHeldTwiceIsSentToItsHoldersInTurns) {
    ExpertMap map = map_of({{0, 1}, {2}});
    map.held[1].emplace_back(0);
    map.replicas = {{{0, LocalExpert{0}}, {1, LocalExpert{1}}}, {{0, LocalExpert{1}}}, {{1, LocalExpert{0}}}};
    const DispatchPlan plan = plan_dispatch(map, ids({0, 2, 1, 0, 0, 1}), 2);
    EXPECT_THAT(plan.rows_to_held, ElementsAre(2, 2, 1, 1));
    EXPECT_THAT(plan.rows_to_peer, ElementsAre(4, 2));
    EXPECT_THAT(plan.rows_to_expert, ElementsAre(3, 2, 1));
    // Slots: expert 0 on peer 0 (choices 0 and 4), expert 1 (2 and 5), expert 2 (1), expert 0 on peer 1 (3).
    EXPECT_THAT(plan.slot_of, ElementsAre(0, 4, 2, 5, 1, 3));
}

TEST(ExpertMap, NamesEveryHolderOfARedundantExpert) {
    Plan plan = plan_of(4, {.dp_shard = 2, .ep = 2, .etp = {}, .world = {}}, "vllm");
    EXPECT_TRUE(expert_map(plan, 0).replicas.empty());
    plan.params[plan.param_idx("layers.0.moe.experts.w1")].placement.placements[3] =
        Owners{.dim = 0, .runs = {{{3, 4}, {0, 2}}, {{1, 4}}}, .redundant = true};
    const ExpertMap map = expert_map(plan, 0);
    ASSERT_EQ(map.replicas[3].size(), 2U);
    EXPECT_EQ(map.replicas[3][1].peer, 1);
    EXPECT_EQ(map.replicas[3][1].local, LocalExpert{2});
    EXPECT_EQ(map.home[3].peer, 0);
    EXPECT_EQ(map.replicas[2].size(), 1U);
}

// Facts 4.3: X = 2, E_l = 2, counts [[2,3],[1,4]].
TEST(PlanArrival, WorkedExampleOfTwoPeers) {
    const std::vector<std::int64_t> counts{2, 3, 1, 4};
    const ArrivalPlan plan = plan_arrival(counts, 2, 2);
    EXPECT_THAT(plan.arrival_row, ElementsAre(0, 1, 5, 2, 3, 4, 6, 7, 8, 9));
    EXPECT_THAT(plan.rows_of_expert, ElementsAre(3, 7));
    EXPECT_THAT(plan.rows_from_peer, ElementsAre(5, 5));
}

TEST(PlanDispatch, ZeroTokensGiveZeroRowsToEveryPeer) {
    const DispatchPlan plan = plan_dispatch(map_of({{0, 1}, {2}}), {}, 2);
    EXPECT_THAT(plan.rows_to_peer, ElementsAre(0, 0));
    EXPECT_THAT(plan.rows_to_expert, ElementsAre(0, 0, 0));
    EXPECT_TRUE(plan.slot_of.empty());
}

TEST(PlanDispatch, AnExpertThatDoesNotExistIsABug) {
    EXPECT_THROW((void)plan_dispatch(map_of({{0, 1}}), ids({0, 2}), 2), BugError);
    EXPECT_THROW((void)plan_dispatch(map_of({{0, 1}}), ids({0, -1}), 2), BugError);
    EXPECT_THROW((void)plan_dispatch(map_of({{0, 1}}), ids({0, 1, 0}), 2), BugError);
}

TEST(PlanArrival, APeerWithoutExpertsReceivesNothing) {
    const ArrivalPlan plan = plan_arrival({}, 3, 0);
    EXPECT_THAT(plan.rows_from_peer, ElementsAre(0, 0, 0));
    EXPECT_TRUE(plan.arrival_row.empty());
}

struct RandomGroup {
    ExpertMap experts;
    std::int64_t top_k = 1;
    std::vector<std::vector<ExpertId>> ids_of_peer;  // each peer's own tokens
};

RandomGroup random_group() {
    const std::int64_t num_peers = *rc::gen::inRange<std::int64_t>(1, 5);
    const std::int64_t num_experts = *rc::gen::inRange<std::int64_t>(1, 12);
    std::vector<std::vector<std::int64_t>> held(static_cast<std::size_t>(num_peers));
    for (std::int64_t e = 0; e < num_experts; ++e) {
        held[static_cast<std::size_t>(*rc::gen::inRange<std::int64_t>(0, num_peers))].push_back(e);
    }
    RandomGroup group{map_of(held), *rc::gen::inRange<std::int64_t>(1, 4), {}};
    for (std::int64_t peer = 0; peer < num_peers; ++peer) {
        const std::int64_t rows = *rc::gen::inRange<std::int64_t>(0, 7);
        group.ids_of_peer.emplace_back();
        for (std::int64_t i = 0; i < rows * group.top_k; ++i) {
            group.ids_of_peer.back().emplace_back(*rc::gen::inRange<std::int64_t>(0, num_experts));
        }
    }
    return group;
}

RC_GTEST_PROP(PlanDispatch, EveryTokenAndChoiceHasExactlyOneSlot, ()) {
    const RandomGroup group = random_group();
    for (const std::vector<ExpertId>& expert_ids : group.ids_of_peer) {
        const DispatchPlan plan = plan_dispatch(group.experts, expert_ids, group.top_k);
        std::vector<int> used(expert_ids.size(), 0);
        for (std::size_t flat = 0; flat < expert_ids.size(); ++flat) {
            const auto slot = static_cast<std::size_t>(plan.slot_of[flat]);
            RC_ASSERT(++used.at(slot) == 1);
            RC_ASSERT(plan.slot_token[slot] * group.top_k + plan.slot_choice[slot] == static_cast<std::int64_t>(flat));
        }
        RC_ASSERT(std::accumulate(plan.rows_to_peer.begin(), plan.rows_to_peer.end(), std::int64_t{0}) ==
                  static_cast<std::int64_t>(expert_ids.size()));
    }
}

RC_GTEST_PROP(PlanDispatch, SlotsAreOrderedByPeerLocalExpertTokenChoice, ()) {
    const RandomGroup group = random_group();
    for (const std::vector<ExpertId>& expert_ids : group.ids_of_peer) {
        const DispatchPlan plan = plan_dispatch(group.experts, expert_ids, group.top_k);
        std::vector<std::array<std::int64_t, 4>> keys;
        for (std::size_t slot = 0; slot < expert_ids.size(); ++slot) {
            const auto flat = static_cast<std::size_t>(plan.slot_token[slot] * group.top_k + plan.slot_choice[slot]);
            const ExpertHome& home = group.experts.home[expert_ids[flat].idx()];
            keys.push_back({home.peer, home.local.value(), plan.slot_token[slot], plan.slot_choice[slot]});
        }
        RC_ASSERT(std::is_sorted(keys.begin(), keys.end()));
    }
}

// A row is (source peer, slot). Sent, permuted for the experts and sent back, each is where it started, and each
// expert saw its own rows only.
RC_GTEST_PROP(DispatchAndArrival, RowsReachTheirExpertAndCountsAreConserved, ()) {
    const RandomGroup group = random_group();
    const auto num_peers = static_cast<std::size_t>(group.experts.num_peers);
    std::vector<DispatchPlan> sent;
    for (const auto& expert_ids : group.ids_of_peer) {
        sent.push_back(plan_dispatch(group.experts, expert_ids, group.top_k));
    }
    for (std::size_t to = 0; to < num_peers; ++to) {
        const std::vector<ExpertId>& held = group.experts.held[to];
        std::vector<std::int64_t> counts;
        std::vector<ExpertId> arriving;
        for (std::size_t from = 0; from < num_peers; ++from) {
            for (const ExpertId e : held) counts.push_back(sent[from].rows_to_expert[e.idx()]);
            std::int64_t first = 0;
            for (std::size_t p = 0; p < to; ++p) first += sent[from].rows_to_peer[p];
            for (std::int64_t i = 0; i < sent[from].rows_to_peer[to]; ++i) {
                const auto slot = static_cast<std::size_t>(first + i);
                const std::int64_t flat = sent[from].slot_token[slot] * group.top_k + sent[from].slot_choice[slot];
                arriving.push_back(group.ids_of_peer[from][static_cast<std::size_t>(flat)]);
            }
        }
        const ArrivalPlan plan = plan_arrival(counts, group.experts.num_peers, static_cast<std::int64_t>(held.size()));
        RC_ASSERT(plan.arrival_row.size() == arriving.size());
        for (std::size_t from = 0; from < num_peers; ++from) {
            RC_ASSERT(plan.rows_from_peer[from] == sent[from].rows_to_peer[to]);
        }
        std::size_t row = 0;
        std::vector<bool> taken(arriving.size(), false);
        for (std::size_t local = 0; local < held.size(); ++local) {
            for (std::int64_t i = 0; i < plan.rows_of_expert[local]; ++i, ++row) {
                const auto from = static_cast<std::size_t>(plan.arrival_row[row]);
                RC_ASSERT(arriving.at(from) == held[local]);
                RC_ASSERT(!taken[from]);
                taken[from] = true;
            }
        }
    }
}

}  // namespace
}  // namespace shardproof
