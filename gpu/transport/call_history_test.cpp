#include "gpu/transport/call_history.hpp"

#include <gtest/gtest.h>

#include <functional>

namespace shardproof::gpu {
namespace {

const RankGroup kGroup{.axis = "ep", .ranks = {Rank{0}, Rank{1}}};
const RankGroup kOther{.axis = "tp", .ranks = {Rank{1}, Rank{2}}};

DeviceCall call(const RankGroup& group, std::size_t member = 0) {
    DeviceCall call;
    call.kind = CollectiveKind::all_reduce;
    call.group = &group;
    call.rank = group.ranks[member];
    call.dtype = DType::F32;
    call.counts = {8};
    call.what = "sums";
    return call;
}

std::uint64_t hash_of(const std::vector<DeviceCall>& calls) {
    CallHistory history{""};
    for (const DeviceCall& each : calls) history.add({&each, 1});
    return history.claims().at(0).hash;
}

TEST(CallHistoryTest, CountsEachGroupByItselfAndEnqueuedTogetherAsOne) {
    CallHistory history{"nccl 0/"};
    const RankGroup alone{.axis = "dp", .ranks = {Rank{1}}};
    const std::vector<DeviceCall> together{call(kGroup, 0), call(kGroup, 1), call(kOther), call(alone)};
    history.add(together);
    history.add(std::span{together}.first(2));
    ASSERT_EQ(history.claims().size(), 2U);
    EXPECT_EQ(history.claims()[0].key, "nccl 0/0,1");
    EXPECT_EQ(history.claims()[0].number, 2);
    EXPECT_EQ(history.claims()[0].text, "rank 0 calls all_reduce(F32, 32 bytes out, 32 in) on ep [0,1]: sums");
    EXPECT_EQ(history.claims()[1].key, "nccl 0/1,2");
    EXPECT_EQ(history.claims()[1].number, 1);
}

TEST(CallHistoryTest, IsTheSameForAllMembersAndDiffersInWhatMustAgree) {
    const std::uint64_t agreed = hash_of({call(kGroup, 0)});
    EXPECT_EQ(hash_of({call(kGroup, 1)}), agreed);
    const std::vector<std::function<void(DeviceCall&)>> changes{
        [](DeviceCall& c) { c.kind = CollectiveKind::broadcast; }, [](DeviceCall& c) { c.dtype = DType::I32; },
        [](DeviceCall& c) { c.counts = {9}; },
        // As many bytes.
        [](DeviceCall& c) {
            c.dtype = DType::I64;
            c.counts = {4};
        },
        [](DeviceCall& c) { c.what = "other sums"; }, [](DeviceCall& c) { c.root_idx = 1; }};
    for (std::size_t i = 0; i < changes.size(); ++i) {
        DeviceCall changed = call(kGroup, 1);
        changes[i](changed);
        EXPECT_NE(hash_of({changed}), agreed) << "change " << i;
        // It stays in the history.
        EXPECT_NE(hash_of({changed, call(kGroup, 1)}), hash_of({call(kGroup), call(kGroup)})) << "change " << i;
    }
}

TEST(CallHistoryTest, LetsWhatDiffersFromPairToPairDiffer) {
    DeviceCall low = call(kGroup, 0);
    low.kind = CollectiveKind::all_to_all;
    low.counts = {1, 2};
    low.receive_counts = {1, 5};
    DeviceCall high = low;
    high.rank = Rank{1};
    high.counts = {5, 0};
    high.receive_counts = {2, 0};
    EXPECT_EQ(hash_of({low}), hash_of({high}));
    DeviceCall gathered = call(kGroup);
    gathered.kind = CollectiveKind::all_gather;
    gathered.counts = {1, 2};
    DeviceCall otherwise = gathered;
    otherwise.counts = {2, 1};
    EXPECT_NE(hash_of({gathered}), hash_of({otherwise}));
}

}  // namespace
}  // namespace shardproof::gpu
