// Several processes, forked here, share one store.
#include "gpu/transport/store.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "gpu/transport/store_test_support.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Optional;
using ::testing::ThrowsMessage;

using namespace store_test;

TEST(StoreTest, GivesEveryProcessWhatAnotherSet) {
    const std::uint16_t port = free_port();
    Child child{[&] {
        Store store{process(1, 2, port), 10};
        store.set("from child", bytes_of("1"));
        const auto value = store.get("from parent", 10);
        return value && *value == bytes_of("0") && !store.barrier("end", 10);
    }};
    Store store{process(0, 2, port), 10};
    EXPECT_THAT(store.get("from child", 10), Optional(bytes_of("1")));  // asked for before it is set
    store.set("from parent", bytes_of("0"));
    EXPECT_EQ(store.barrier("end", 10), std::nullopt);
    EXPECT_TRUE(child.ended_well());
    EXPECT_TRUE(store.news().lost.empty());  // it said farewell
}

TEST(StoreTest, CarriesEmptyAndLargeValues) {
    const std::uint16_t port = free_port();
    Bytes large(std::size_t{10} << 20);
    for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<std::byte>(i * 31 % 251);
    Child child{[&] {
        Store store{process(1, 2, port), 10};
        const auto value = store.get("large", 10);
        store.set("empty", {});
        store.set("back", *value);
        return *value == large && !store.barrier("end", 10);
    }};
    Store store{process(0, 2, port), 10};
    store.set("large", large);
    EXPECT_THAT(store.get("empty", 10), Optional(Bytes{}));
    EXPECT_EQ(store.get("back", 10), large);
    EXPECT_EQ(store.barrier("end", 10), std::nullopt);
    EXPECT_TRUE(child.ended_well());
}

TEST(StoreTest, KeepsTheLastValueOfAKey) {
    Store store{process(0, 1, free_port()), 10};
    EXPECT_EQ(store.peek("k"), std::nullopt);
    store.set("k", bytes_of("first"));
    store.set("k", bytes_of("second"));
    EXPECT_THAT(store.peek("k"), Optional(bytes_of("second")));
    EXPECT_EQ(store.barrier("alone", 10), std::nullopt);
    EXPECT_EQ(store.barrier("alone", 10), std::nullopt);  // the same name again
}

TEST(StoreTest, GivesUpOnAKeyThatNobodySets) {
    Store store{process(0, 1, free_port()), 10};
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(store.get("never", 0.2), std::nullopt);
    EXPECT_GE(seconds_since(begin), 0.19);
    EXPECT_LT(seconds_since(begin), 3);
    EXPECT_EQ(store.get("never", 0), std::nullopt);
    EXPECT_EQ(store.peek("never"), std::nullopt);  // the connection still works
}

TEST(StoreTest, HasOneDeadlineForAllKeysOfARequest) {
    Store store{process(0, 1, free_port()), 10};
    store.set("last", bytes_of("v"));
    const auto begin = std::chrono::steady_clock::now();
    const auto found = store.get_all({"a", "b", "c", "d", "last"}, 0.3);
    EXPECT_GE(seconds_since(begin), 0.29);
    EXPECT_LT(seconds_since(begin), 0.9);  // not 4 times 0.3
    ASSERT_EQ(found.size(), 5U);
    EXPECT_EQ(found[3], std::nullopt);
    EXPECT_THAT(found[4], Optional(bytes_of("v")));  // though it was asked for after the deadline
    EXPECT_THAT(store.get_all({}, 0.3), IsEmpty());
}

TEST(StoreTest, NamesWhoDidNotComeToABarrier) {
    const std::uint16_t port = free_port();
    Child child{[&] {
        Store store{process(1, 3, port), 10};
        return store.barrier("b", 1) == std::vector<std::int64_t>{2} && store.get("done", 10).has_value();
    }};
    Child absent{[&] {
        Store store{process(2, 3, port), 10};
        return store.get("done", 10).has_value();
    }};
    Store store{process(0, 3, port), 10};
    EXPECT_THAT(store.barrier("b", 1), Optional(ElementsAre(2)));
    store.set("done", {});
    EXPECT_TRUE(child.ended_well());
    EXPECT_TRUE(absent.ended_well());
}

TEST(StoreTest, NoticesAtOnceThatAProcessWasKilled) {
    const std::uint16_t port = free_port();
    Child victim{[&] {
        Store store{process(1, 3, port), 10};
        store.set("here", {});
        (void)store.get("never", 60);
        return true;
    }};
    Child witness{[&] {
        Store store{process(2, 3, port), 10};
        // A barrier that a dead process cannot reach ends long before its deadline.
        return store.barrier("b", 60) == std::vector<std::int64_t>{1};
    }};
    Store store{process(0, 3, port), 10};
    ASSERT_TRUE(store.get("here", 10).has_value());
    EXPECT_TRUE(store.news().lost.empty());
    victim.kill_now();
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_THAT(store.barrier("b", 60), Optional(ElementsAre(1)));
    EXPECT_LT(seconds_since(begin), 10);
    EXPECT_THAT(store.news().lost, ElementsAre(1));
    EXPECT_TRUE(witness.ended_well());
}

TEST(StoreTest, TellsWhoGaveUpThoughItLives) {
    const std::uint16_t port = free_port();
    Child quitter{[&] {
        Store store{process(1, 2, port), 10};
        store.quit();
        store.set("quit", {});
        return store.get("done", 60).has_value();
    }};
    Store store{process(0, 2, port), 10};
    ASSERT_TRUE(store.get("quit", 10).has_value());
    EXPECT_THAT(store.news().quitters, ElementsAre(1));
    EXPECT_TRUE(store.news().lost.empty());
    store.set("done", {});
    EXPECT_TRUE(quitter.ended_well());
}

TEST(StoreTest, ForgetsWhatIsRemoved) {
    Store store{process(0, 1, free_port()), 10};
    store.set("k", bytes_of("v"));
    store.remove("k");
    store.remove("never there");
    EXPECT_EQ(store.peek("k"), std::nullopt);
    EXPECT_EQ(store.get("k", 0), std::nullopt);
}

TEST(StoreTest, TellsBothSidesThatTheyClaimOtherwise) {
    const std::uint16_t port = free_port();
    const auto claim = [](std::int64_t number, std::uint64_t hash, std::string text) {
        return StoreClaim{.key = "calls", .number = number, .hash = hash, .text = std::move(text)};
    };
    Child child{[&] {
        Store store{process(1, 2, port), 10};
        if (!store.get("first", 10)) return false;
        // Another number is no contradiction, nor is another text.
        const std::vector<StoreClaim> behind{claim(1, 99, "one")};
        const std::vector<StoreClaim> same{claim(1, 99, "one"), claim(2, 5, "in other words")};
        const std::vector<StoreClaim> other{{.key = "alone", .number = 3, .hash = 1, .text = ""}, claim(3, 7, "a sum")};
        if (store.news(behind).conflict || store.news(same).conflict) return false;
        const auto conflict = store.news(other).conflict;
        store.set("second", {});
        return conflict && conflict->claim_idx == 1 && conflict->process == 0 && conflict->text == "a gather" &&
               store.get("done", 10).has_value();
    }};
    Store store{process(0, 2, port), 10};
    const std::vector<StoreClaim> claims{claim(2, 5, "two"), claim(3, 6, "a gather")};
    EXPECT_EQ(store.news(claims).conflict, std::nullopt);
    store.set("first", {});
    ASSERT_TRUE(store.get("second", 10).has_value());
    const auto conflict = store.news(claims).conflict;  // it claimed first, and learns of it when it asks again
    ASSERT_TRUE(conflict.has_value());
    EXPECT_EQ(conflict->claim_idx, 1U);
    EXPECT_EQ(conflict->process, 1);
    EXPECT_EQ(conflict->text, "a sum");
    store.set("done", {});
    EXPECT_TRUE(child.ended_well());
}

TEST(StoreTest, OutlivesItsKeeperUntilTheOthersAreDone) {
    const std::uint16_t port = free_port();
    Child child{[&] {
        Store store{process(1, 2, port), 10};
        if (!store.get("last", 10)) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds{500});
        return store.peek("last").has_value();
    }};
    {
        Store store{process(0, 2, port), 10};
        store.set("last", bytes_of("v"));
    }
    EXPECT_TRUE(child.ended_well());
}

TEST(StoreTest, WaitsNoLongerForOthersThanItsDeadline) {
    const std::uint16_t port = free_port();
    Child child{[&] {
        Store store{process(1, 2, port), 10};
        store.set("here", {});
        (void)store.get("never", 60);
        return true;
    }};
    std::chrono::steady_clock::time_point begin;
    {
        Store store{process(0, 2, port), 0.5};
        ASSERT_TRUE(store.get("here", 10).has_value());
        begin = std::chrono::steady_clock::now();
    }
    EXPECT_GE(seconds_since(begin), 0.45);
    EXPECT_LT(seconds_since(begin), 3);
}

// Whoever asks until somebody gave up.
bool learns_that_it_quit(Store& store, std::int64_t quitter) {
    const auto begin = std::chrono::steady_clock::now();
    while (seconds_since(begin) < 5) {
        const StoreNews news = store.news();
        if (!news.lost.empty()) return false;
        if (news.quitters == std::vector<std::int64_t>{quitter}) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds{10});
    }
    return false;
}

void leave_by_an_exception(const Processes& self) {
    try {
        const Store store{self, 10};
        throw std::runtime_error{"planted"};
    } catch (const std::runtime_error&) {
        return;
    }
}

TEST(StoreTest, TellsThatAProcessLeftByAnException) {
    const std::uint16_t port = free_port();
    Child thrower{[&] {
        leave_by_an_exception(process(1, 2, port));
        return true;
    }};
    Store store{process(0, 2, port), 10};
    EXPECT_TRUE(learns_that_it_quit(store, 1));
    EXPECT_TRUE(thrower.ended_well());
}

TEST(StoreTest, TellsThatItsKeeperLeftByAnException) {
    const std::uint16_t port = free_port();
    Child witness{[&] {
        Store store{process(1, 2, port), 10};
        store.set("the other came", {});
        return learns_that_it_quit(store, 0);
    }};
    Child keeper{[&] {
        try {
            Store store{process(0, 2, port), 10};
            (void)store.get("the other came", 10);
            throw std::runtime_error{"planted"};
        } catch (const std::runtime_error&) {
            return true;
        }
    }};
    EXPECT_TRUE(witness.ended_well());
    EXPECT_TRUE(keeper.ended_well());
}

// What catches an exception of its own while it unwinds is no end of the run.
TEST(StoreTest, TakesAStoreMadeWhileUnwindingForAnOrderlyOne) {
    const std::uint16_t port = free_port();
    Child child{[&] {
        struct Unwinds {
            const Processes& self;
            ~Unwinds() { const Store store{self, 10}; }
        };
        const Processes self = process(1, 2, port);
        try {
            const Unwinds unwinds{self};
            throw std::runtime_error{"planted"};
        } catch (const std::runtime_error&) {
            return true;
        }
    }};
    Store store{process(0, 2, port), 10};
    EXPECT_THAT(store.barrier("never", 10), Optional(ElementsAre(1)));  // it has left
    EXPECT_TRUE(store.news().quitters.empty());
    EXPECT_TRUE(child.ended_well());
}

TEST(StoreTest, TellsTheOthersThatTheStoreWentAway) {
    const std::uint16_t port = free_port();
    Child keeper{[&] {
        Store store{process(0, 2, port), 10};
        (void)store.get("never", 60);
        return true;
    }};
    Store store{process(1, 2, port), 10};
    store.set("k", {});
    keeper.kill_now();
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_THAT([&] { (void)store.get("j", 60); },
                ThrowsMessage<EnvironmentError>(HasSubstr("127.0.0.1:" + std::to_string(port))));
    EXPECT_LT(seconds_since(begin), 10);
    EXPECT_THROW((void)store.news().lost, EnvironmentError);
}

TEST(StoreTest, GivesUpByTheDeadlineWhereNobodyListens) {
    const std::uint16_t port = free_port();
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_THAT([&] { Store(process(1, 2, port), 0.3); },
                ThrowsMessage<EnvironmentError>(HasSubstr("nobody listens there")));
    EXPECT_LT(seconds_since(begin), 5);
    Processes nowhere = process(1, 2, port);
    nowhere.store_host = "no such host.invalid";
    EXPECT_THAT([&] { Store(nowhere, 0.3); }, ThrowsMessage<EnvironmentError>(HasSubstr("has no address")));
}

TEST(StoreTest, WaitsForAStoreThatComesLater) {
    const std::uint16_t port = free_port();
    Child child{[&] {
        Store store{process(1, 2, port), 10};
        return !store.barrier("b", 10);
    }};
    std::this_thread::sleep_for(std::chrono::milliseconds{300});
    Store store{process(0, 2, port), 10};
    EXPECT_EQ(store.barrier("b", 10), std::nullopt);
    EXPECT_TRUE(child.ended_well());
}

TEST(StoreTest, RefusesAPortInUseAndAProcessThatIsNotOfTheRun) {
    const std::uint16_t port = free_port();
    const Store store{process(0, 2, port), 10};
    EXPECT_THAT([&] { Store(process(0, 2, port), 1); }, ThrowsMessage<EnvironmentError>(HasSubstr("in use")));
    EXPECT_THAT([&] { Store(process(1, 4, port), 1); },
                ThrowsMessage<EnvironmentError>(HasSubstr("a run of 2 processes, not 4")));
    const Store second{process(1, 2, port), 10};
    EXPECT_THAT([&] { Store(process(1, 2, port), 1); },
                ThrowsMessage<EnvironmentError>(HasSubstr("process 1 is connected already")));
}

TEST(StoreTest, SurvivesAStranger) {
    const std::uint16_t port = free_port();
    Store store{process(0, 1, port), 10};
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    for (const std::string_view said : {"GET / HTTP/1.0\r\n\r\n", "\xff\xff\xff\xff", "\x01"}) {
        const int fd = socket(AF_INET, SOCK_STREAM, 0);
        ASSERT_GE(fd, 0);
        ASSERT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
        ASSERT_EQ(send(fd, said.data(), said.size(), MSG_NOSIGNAL), static_cast<ssize_t>(said.size()));
        close(fd);
    }
    store.set("k", bytes_of("v"));
    EXPECT_THAT(store.peek("k"), Optional(bytes_of("v")));
    EXPECT_TRUE(store.news().lost.empty());
}

}  // namespace
}  // namespace shardproof::gpu
