#ifdef SHARDPROOF_HAS_GPU
#include "props/device_exchange.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "gpu/transport/store_test_support.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::props {
namespace {

LayerShare share_of_two() {
    LayerShare share;
    for (const std::int64_t r : {3, 4}) {
        gpu::MoeRank& rank = share.ranks.emplace_back();
        rank.rank = Rank{r};
        rank.expert_ids = {ExpertId{7}, ExpertId{r}};
        rank.expert_weights = {0.25F, 0.75F};
        rank.output = {.cols = 3, .values = {1.5F, -2.0F, static_cast<float>(r)}};
        rank.dispatched = {1, 2};
        rank.dispatched_ids = {ExpertId{7}};
        rank.dispatch = {.top_k = 2,
                         .rows_to_peer = {0, 2},
                         .rows_to_expert = {1, 1, 0},
                         .slot_token = {0, 0},
                         .slot_choice = {1, 0},
                         .slot_of = {1, 0}};
        rank.expert_begin = {0, 2, 5};
    }
    share.load_failure = Mismatch{.layer = "layers.0.moe.experts.w1",
                                  .rank = Rank{4},
                                  .coordinate = {1, 2, 3},
                                  .got = 0.5,
                                  .want = 1,
                                  .bound = 0,
                                  .why = "loaded bytes are not those of the checkpoint"};
    share.bytes_planned = 10;
    share.bytes_read = 9;
    return share;
}

TEST(DeviceExchange, UnpacksWhatWasPacked) {
    const LayerShare want = share_of_two();
    const LayerShare got = unpack(pack(want));
    ASSERT_EQ(got.ranks.size(), 2U);
    for (std::size_t i = 0; i < 2; ++i) {
        EXPECT_EQ(got.ranks[i].rank, want.ranks[i].rank);
        EXPECT_EQ(got.ranks[i].expert_ids, want.ranks[i].expert_ids);
        EXPECT_EQ(got.ranks[i].expert_weights, want.ranks[i].expert_weights);
        EXPECT_EQ(got.ranks[i].output.values, want.ranks[i].output.values);
        EXPECT_EQ(got.ranks[i].output.cols, 3);
        EXPECT_EQ(got.ranks[i].dispatched.end, 2);
        EXPECT_EQ(got.ranks[i].dispatched_ids, want.ranks[i].dispatched_ids);
        EXPECT_EQ(got.ranks[i].dispatch.slot_choice, want.ranks[i].dispatch.slot_choice);
        EXPECT_EQ(got.ranks[i].dispatch.rows_to_expert, want.ranks[i].dispatch.rows_to_expert);
        EXPECT_EQ(got.ranks[i].expert_begin, want.ranks[i].expert_begin);
    }
    ASSERT_TRUE(got.load_failure);
    EXPECT_EQ(got.load_failure->layer, want.load_failure->layer);
    EXPECT_EQ(got.load_failure->coordinate, want.load_failure->coordinate);
    EXPECT_EQ(got.load_failure->why, want.load_failure->why);
    EXPECT_EQ(got.bytes_planned, 10);
    EXPECT_EQ(got.bytes_read, 9);
}

TEST(DeviceExchange, RefusesBytesThatAreCutOrTooMany) {
    std::vector<std::byte> bytes = pack(share_of_two());
    bytes.push_back(std::byte{0});
    EXPECT_THROW((void)unpack(bytes), BugError);
    bytes.resize(bytes.size() - 9);
    EXPECT_THROW((void)unpack(bytes), BugError);
}

TEST(DeviceExchange, IsOnesOwnShareWhereThereIsOneProcess) {
    EXPECT_EQ(exchange(share_of_two(), nullptr, {}, 0, 1).ranks.size(), 2U);
}

LayerShare share_of(std::int64_t process, std::int64_t step) {
    LayerShare share;
    share.ranks.emplace_back().rank = Rank{process};
    share.bytes_read = 100 * step + process;
    return share;
}

TEST(DeviceExchange, GivesEveryProcessAllSharesAndForgetsThem) {
    using namespace gpu::store_test;
    const std::uint16_t port = free_port();
    const auto exchanges_well = [](gpu::Store& store, const gpu::Processes& me) {
        bool well = true;
        for (std::int64_t step = 0; step < 5; ++step) {
            const LayerShare all = exchange(share_of(me.rank, step), &store, me, step, 10);
            well = well && all.ranks.size() == 2 && all.ranks[1].rank == Rank{1} && all.bytes_read == 200 * step + 1;
        }
        return well && !store.barrier("read", 10);
    };
    Child child{[&] {
        gpu::Store store{process(1, 2, port), 10};
        return exchanges_well(store, process(1, 2, port)) && !store.barrier("end", 10);
    }};
    gpu::Store store{process(0, 2, port), 10};
    EXPECT_TRUE(exchanges_well(store, process(0, 2, port)));
    for (const std::string step : {"0", "1", "2", "3", "4"}) {
        for (const std::string rank : {"/0", "/1"})
            EXPECT_EQ(store.peek("layer/" + step + rank).has_value(), step == "4") << step << rank;
    }
    EXPECT_EQ(store.barrier("end", 10), std::nullopt);
    EXPECT_TRUE(child.ended_well());
}

TEST(DeviceExchange, HasOneDeadlineForAllRanksThatDoNotCome) {
    using namespace gpu::store_test;
    const gpu::Processes me = process(0, 5, free_port());
    gpu::Store store{me, 1};
    const auto begin = std::chrono::steady_clock::now();
    try {
        (void)exchange(share_of(0, 0), &store, me, 0, 0.3);
        ADD_FAILURE() << "no stall";
    } catch (const gpu::StallError& error) {
        EXPECT_EQ(error.stall().message,
                  "peer lost: deadline of 0.3 s passed: rank 0 waits for the results of ranks 1, 2, 3, 4");
    }
    EXPECT_LT(seconds_since(begin), 0.85);
}

// What the exchange of process 0 of two says when the other does not give its share; within a fraction of the deadline.
std::string report_without_the_other(const gpu::Processes& me, gpu::Store& store) {
    const auto begin = std::chrono::steady_clock::now();
    std::string report = "no stall";
    try {
        (void)exchange(share_of(me.rank, 0), &store, me, 0, 30);
    } catch (const gpu::StallError& error) {
        report = error.what();
        EXPECT_EQ(error.stall().kind, gpu::DeviceStall::Kind::peer_lost);
        EXPECT_EQ(error.stall().waits.at(0).absent, std::vector<Rank>{Rank{1 - me.rank}});
    }
    return gpu::store_test::seconds_since(begin) < 5 ? report : "too late: " + report;
}

TEST(DeviceExchange, EndsEarlyWhereAPeerGaveUpWasKilledOrLeft) {
    using namespace gpu::store_test;
    struct Case {
        const char* cause;
        bool (*play)(gpu::Store& store);
    };
    const std::vector<Case> cases{{"process 1 gave up",
                                   [](gpu::Store& store) {
                                       store.quit();
                                       return store.get("done", 30).has_value();
                                   }},
                                  {"process 1 is gone", [](gpu::Store&) -> bool { _exit(0); }},
                                  {"process 1 has left", [](gpu::Store&) { return true; }}};
    for (const Case& c : cases) {
        const std::uint16_t port = free_port();
        Child child{[&] {
            gpu::Store store{process(1, 2, port), 10};
            std::this_thread::sleep_for(std::chrono::milliseconds{100});
            return c.play(store);
        }};
        gpu::Store store{process(0, 2, port), 10};
        EXPECT_EQ(report_without_the_other(process(0, 2, port), store),
                  std::string{"peer lost: "} + c.cause + ": rank 0 waits for the results of rank 1");
        store.set("done", {});
        EXPECT_TRUE(child.ended_well());
    }
}

TEST(DeviceExchange, EndsEarlyWhereTheStoreWentAway) {
    using namespace gpu::store_test;
    const std::uint16_t port = free_port();
    Child keeper{[&] {
        gpu::Store store{process(0, 2, port), 10};
        (void)store.get("here", 10);
        _exit(0);
        return true;
    }};
    gpu::Store store{process(1, 2, port), 10};
    store.set("here", {});
    EXPECT_THAT(report_without_the_other(process(1, 2, port), store),
                testing::AllOf(testing::StartsWith("peer lost: the store of process 0"),
                               testing::EndsWith(": rank 1 waits for the results of rank 0")));
}

// Who gives up after it gave its share has given it.
TEST(DeviceExchange, TakesTheSharesOfThoseThatGaveUpLater) {
    using namespace gpu::store_test;
    const std::uint16_t port = free_port();
    Child child{[&] {
        gpu::Store store{process(1, 2, port), 10};
        const LayerShare all = exchange(share_of(1, 0), &store, process(1, 2, port), 0, 10);
        store.quit();
        store.set("quit", {});
        return all.ranks.size() == 2;
    }};
    gpu::Store store{process(0, 2, port), 10};
    store.set("layer/0/0", pack(share_of(0, 0)));
    ASSERT_TRUE(store.get("quit", 10).has_value());
    EXPECT_EQ(exchange(share_of(0, 0), &store, process(0, 2, port), 0, 10).ranks.size(), 2U);
    EXPECT_TRUE(child.ended_well());
}

// Process 0 may be the first to have read everything.
TEST(DeviceExchange, LetsSlowProcessesReadTheLastLayer) {
    using namespace gpu::store_test;
    const std::uint16_t port = free_port();
    Child child{[&] {
        gpu::Store store{process(1, 2, port), 10};
        store.set("layer/0/1", pack(share_of(1, 0)));
        std::this_thread::sleep_for(std::chrono::milliseconds{500});
        return exchange(share_of(1, 0), &store, process(1, 2, port), 0, 10).ranks.size() == 2;
    }};
    {
        gpu::Store store{process(0, 2, port), 10};
        EXPECT_EQ(exchange(share_of(0, 0), &store, process(0, 2, port), 0, 10).ranks.size(), 2U);
    }
    EXPECT_TRUE(child.ended_well());
}

}  // namespace
}  // namespace shardproof::props
#endif
