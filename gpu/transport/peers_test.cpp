// Two processes, forked here, tell each other through a store what they called and where they stand.
#include "gpu/transport/peers.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "gpu/transport/store_test_support.hpp"

namespace shardproof::gpu {
namespace {

using ::testing::HasSubstr;

using namespace store_test;

const RankGroup kGroup{.axis = "ep", .ranks = {Rank{0}, Rank{1}}};

DeviceCall call(std::int64_t rank, CollectiveKind kind) {
    DeviceCall call;
    call.kind = kind;
    call.group = &kGroup;
    call.rank = Rank{rank};
    call.dtype = DType::F32;
    call.counts = {8};
    call.what = "sums";
    return call;
}

// Asks until there is trouble, or nothing after 5 s.
std::optional<Trouble> trouble_of(Peers& peers) {
    const auto begin = std::chrono::steady_clock::now();
    while (seconds_since(begin) < 5) {
        if (auto found = peers.trouble(Transport::Look::now_and_then)) return found;
        std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    return std::nullopt;
}

TEST(PeersTest, FindsNothingWhereThereAreNoOthers) {
    Peers peers{nullptr, "p/"};
    const DeviceCall one = call(0, CollectiveKind::all_reduce);
    peers.called({&one, 1});
    EXPECT_FALSE(peers.trouble(Transport::Look::now).has_value());
    EXPECT_FALSE(peers.last_words({}, {}, 1).has_value());
    peers.quit();
}

TEST(PeersTest, BothSidesLearnThatTheyCallDifferentThings) {
    const std::uint16_t port = free_port();
    const auto plays = [&](std::int64_t rank, CollectiveKind last) {
        Store store{process(rank, 2, port), 10};
        Peers peers{&store, "p/"};
        const DeviceCall same = call(rank, CollectiveKind::all_reduce);
        const DeviceCall differs = call(rank, last);
        peers.called({&same, 1});
        if (peers.trouble(Transport::Look::now) || store.barrier("agreed", 10)) return std::optional<Trouble>{};
        peers.called({&differs, 1});
        std::optional<Trouble> found = trouble_of(peers);
        (void)store.barrier("end", 10);
        return found;
    };
    Child child{[&] {
        const auto found = plays(1, CollectiveKind::broadcast);
        return found && found->kind == Trouble::Kind::mismatch;
    }};
    const auto found = plays(0, CollectiveKind::all_reduce);
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->kind, Trouble::Kind::mismatch);
    EXPECT_EQ(found->text,
              "call 2 of the group differs, or one before it: rank 0 calls all_reduce(F32, 32 bytes out, 32 in) on ep "
              "[0,1]: sums, rank 1 calls broadcast(F32, 0 bytes out, 32 in) on ep [0,1]: sums");
    EXPECT_TRUE(child.ended_well());
}

TEST(PeersTest, SayWhereTheyStandWhenOneGivesUp) {
    const std::uint16_t port = free_port();
    Child child{[&] {
        Store store{process(1, 2, port), 10};
        Peers peers{&store, "p/"};
        const auto found = trouble_of(peers);
        if (!found || found->kind != Trouble::Kind::peer_lost || found->text != "process 0 gave up") return false;
        const Standing mine{.rank = Rank{1}, .call = "a \"gather\"", .group = kGroup.ranks, .number = 3};
        const std::vector<Rank> others{Rank{0}};
        const auto words = peers.last_words({&mine, 1}, others, 5);
        return words && words->size() == 1 && words->at(0).call == "a sum" && !store.barrier("end", 10);
    }};
    Store store{process(0, 2, port), 10};
    Peers peers{&store, "p/"};
    const Standing mine{.rank = Rank{0}, .call = "a sum", .group = kGroup.ranks, .number = 2};
    const std::vector<Rank> others{Rank{1}};
    const auto words = peers.last_words({&mine, 1}, others, 5);
    ASSERT_TRUE(words.has_value());
    ASSERT_EQ(words->size(), 1U);
    EXPECT_EQ(words->at(0).rank, Rank{1});
    EXPECT_EQ(words->at(0).call, "a \"gather\"");
    EXPECT_EQ(words->at(0).group, kGroup.ranks);
    EXPECT_EQ(words->at(0).number, 3);
    EXPECT_EQ(store.barrier("end", 10), std::nullopt);
    EXPECT_TRUE(child.ended_well());
}

TEST(PeersTest, LearnThatAProcessLeftByAnException) {
    const std::uint16_t port = free_port();
    Child thrower{[&] {
        try {
            const Store store{process(1, 2, port), 10};
            throw std::runtime_error{"planted"};
        } catch (const std::runtime_error&) {
            return true;
        }
    }};
    Store store{process(0, 2, port), 10};
    Peers peers{&store, "p/"};
    const auto found = trouble_of(peers);
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->kind, Trouble::Kind::peer_lost);
    EXPECT_EQ(found->text, "process 1 gave up");
    EXPECT_TRUE(thrower.ended_well());
}

TEST(PeersTest, DoNotWaitLongForTheSilent) {
    Store store{process(0, 4, free_port()), 1};
    Peers peers{&store, "p/"};
    const std::vector<Rank> others{Rank{1}, Rank{2}, Rank{3}};
    const auto begin = std::chrono::steady_clock::now();
    const auto words = peers.last_words({}, others, 0.3);
    EXPECT_LT(seconds_since(begin), 0.85);
    ASSERT_TRUE(words.has_value());
    EXPECT_TRUE(words->empty());
}

TEST(PeersTest, AStoreThatWentAwayIsTrouble) {
    const std::uint16_t port = free_port();
    Child keeper{[&] {
        Store store{process(0, 2, port), 10};
        (void)store.get("never", 60);
        return true;
    }};
    Store store{process(1, 2, port), 10};
    Peers peers{&store, "p/"};
    EXPECT_FALSE(peers.trouble(Transport::Look::now).has_value());
    keeper.kill_now();
    const auto found = trouble_of(peers);
    ASSERT_TRUE(found.has_value());
    EXPECT_THAT(found->text, HasSubstr("the store of process 0"));
    const std::vector<Rank> others{Rank{0}};
    EXPECT_FALSE(peers.last_words({}, others, 1).has_value());
}

}  // namespace
}  // namespace shardproof::gpu
