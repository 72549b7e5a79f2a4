// What goes wrong with the ranks of one process ends in a report, over every transport of the table.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gpu/transport/gate.hpp"
#include "gpu/transport/transport_test_support.hpp"

namespace shardproof::gpu::transport_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using ::testing::ThrowsMessage;

class TransportFaultsTest : public OnTransport {};

TEST_P(TransportFaultsTest, EndsByTheDeadlineWhenARankSkipsACall) {
    if (world_ < 2) GTEST_SKIP() << "one rank";
    for (const bool connected : {false, true}) {
        SCOPED_TRACE(connected ? "after a call that all made" : "in the first call");
        renew(kDeadline_s);
        bool skips = !connected;
        DeviceFaults faults;
        faults.on_call = [&](DeviceCall& call) {
            return skips && call.rank == Rank{world_ - 1} ? Participation::skips : Participation::joins;
        };
        Ledger ledger{*transport_, ranks_, kDeadline_s, &faults};
        Run run = prepare(all_to_all(), all_);
        transport_->connect(all_);
        if (connected) {
            ledger.enqueue(run.calls);
            ledger.wait();
            skips = true;
        }
        const DeviceStall stall = stall_of([&] {
            ledger.enqueue(run.calls);
            ledger.wait();
        });
        EXPECT_EQ(stall.kind, DeviceStall::Kind::deadline);
        EXPECT_THAT(stall.message,
                    AllOf(StartsWith("deadline of 2 s passed: rank 0 waits in all_to_all(F32, "),
                          HasSubstr("for rank " + std::to_string(world_ - 1)), HasSubstr("has not called it")));
        EXPECT_EQ(stall.waits.size(), static_cast<std::size_t>(world_ - 1));
        expect_recovery();
    }
}

TEST_P(TransportFaultsTest, EndsByTheDeadlineWhenAStreamStalls) {
    if (world_ < 2) GTEST_SKIP() << "one rank";
    renew(kDeadline_s);
    Gate gate{60};
    Ledger ledger{*transport_, ranks_, kDeadline_s, nullptr};
    ledger.watch({.trouble = [] { return std::nullopt; }, .stop = [&] { gate.open(); }});
    Run run = prepare(all_to_all(), all_);
    ledger.enqueue(run.calls);
    ledger.wait();
    gate.hold(ranks_[1].stream);
    const DeviceStall stall = stall_of([&] {
        ledger.enqueue(run.calls);
        ledger.wait();
    });
    EXPECT_EQ(stall.kind, DeviceStall::Kind::deadline);
    EXPECT_THAT(stall.message, HasSubstr("waits in all_to_all(F32, "));
    expect_recovery();
}

TEST_P(TransportFaultsTest, EndsAtOnceWhenARankCallsSomethingElse) {
    if (world_ < 2) GTEST_SKIP() << "one rank";
    DeviceFaults faults;
    faults.on_call = [](DeviceCall& call) {
        if (call.rank == Rank{1}) call.dtype = DType::I32;
        return Participation::joins;
    };
    Ledger ledger{*transport_, ranks_, kDeadline_s, &faults};
    Run run = prepare(all_to_all(), all_);
    const DeviceStall stall = stall_of([&] { ledger.enqueue(run.calls); });
    EXPECT_EQ(stall.kind, DeviceStall::Kind::mismatch);
    EXPECT_THAT(stall.message, AllOf(StartsWith("mismatched collective: dtypes differ: rank 0 calls all_to_all(F32"),
                                     HasSubstr("rank 1 calls all_to_all(I32")));
    expect_recovery();
}

TEST_P(TransportFaultsTest, PassesOnWhatARankThrows) {
    DeviceFaults faults;
    faults.on_call = [&](DeviceCall& call) -> Participation {
        if (call.rank == Rank{world_ - 1}) throw std::runtime_error{"planted"};
        return Participation::joins;
    };
    Ledger ledger{*transport_, ranks_, kDeadline_s, &faults};
    Run run = prepare(all_to_all(), all_);
    EXPECT_THAT([&] { ledger.enqueue(run.calls); }, ThrowsMessage<std::runtime_error>("planted"));
    expect_recovery();
}

INSTANTIATE_TEST_SUITE_P(All, TransportFaultsTest, testing::ValuesIn(settings()), name_of_setting);

}  // namespace
}  // namespace shardproof::gpu::transport_test
