#include "gpu/transport/collective.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Optional;
using ::testing::StartsWith;

const RankGroup kGroup{.axis = "ep", .ranks = {Rank{4}, Rank{0}, Rank{2}}};

DeviceCall call(CollectiveKind kind, std::int64_t rank, std::vector<std::int64_t> counts,
                std::vector<std::int64_t> receive_counts = {}) {
    static float memory = 0;
    DeviceCall call;
    call.kind = kind;
    call.group = &kGroup;
    call.rank = Rank{rank};
    call.dtype = DType::F32;
    call.send = &memory;
    call.receive = &memory;
    call.counts = std::move(counts);
    call.receive_counts = std::move(receive_counts);
    return call;
}

std::optional<std::string> disagreement_of(const std::vector<DeviceCall>& calls) {
    std::vector<const DeviceCall*> pointers;
    for (const DeviceCall& each : calls) pointers.push_back(&each);
    return disagreement(pointers);
}

TEST(DeviceCallTest, CountsBytesOfEachKind) {
    using enum CollectiveKind;
    using Bytes = std::pair<std::int64_t, std::int64_t>;  // out, in
    const auto bytes = [](const DeviceCall& c) { return Bytes{c.send_bytes(), c.receive_bytes()}; };
    EXPECT_EQ(bytes(call(all_gather, 0, {1, 2, 3})), (Bytes{8, 24}));
    EXPECT_EQ(bytes(call(reduce_scatter, 2, {1, 2, 3})), (Bytes{24, 12}));
    EXPECT_EQ(bytes(call(all_reduce, 0, {5})), (Bytes{20, 20}));
    EXPECT_EQ(bytes(call(all_to_all, 4, {1, 2, 3}, {1, 0, 0})), (Bytes{24, 4}));
    EXPECT_EQ(bytes(call(broadcast, 4, {5})), (Bytes{20, 20}));
    EXPECT_EQ(bytes(call(broadcast, 0, {5})), (Bytes{0, 20}));
    EXPECT_EQ(bytes(call(barrier, 0, {})), (Bytes{0, 0}));
}

TEST(DeviceCallTest, PrintsInTheWordsOfTheVirtualRanks) {
    DeviceCall dispatch = call(CollectiveKind::all_to_all, 4, {1, 2, 9}, {1, 7, 0});
    EXPECT_EQ(to_string(dispatch), "all_to_all(F32, 48 bytes out, 32 in) on ep [4,0,2]");
    dispatch.what = "dispatch rows";
    EXPECT_EQ(to_string(dispatch), "all_to_all(F32, 48 bytes out, 32 in) on ep [4,0,2]: dispatch rows");
}

TEST(DisagreementTest, IsNoneWhereCallsFit) {
    using enum CollectiveKind;
    EXPECT_EQ(disagreement_of({}), std::nullopt);
    EXPECT_EQ(disagreement_of({call(all_to_all, 4, {1, 2, 3}, {1, 4, 0}), call(all_to_all, 0, {4, 0, 5}, {2, 0, 6}),
                               call(all_to_all, 2, {0, 6, 7}, {3, 5, 7})}),
              std::nullopt);
    EXPECT_EQ(disagreement_of({call(all_gather, 4, {1, 0, 3}), call(all_gather, 2, {1, 0, 3})}), std::nullopt);
    EXPECT_EQ(disagreement_of({call(barrier, 4, {}), call(barrier, 0, {}), call(barrier, 2, {})}), std::nullopt);
}

TEST(DisagreementTest, NamesRanksAndWhatEachAskedFor) {
    using enum CollectiveKind;
    EXPECT_THAT(disagreement_of({call(all_gather, 4, {1, 1, 1}), call(reduce_scatter, 0, {1, 1, 1})}),
                Optional(std::string{"kinds differ: rank 4 calls all_gather(F32, 4 bytes out, 12 in) on ep [4,0,2], "
                                     "rank 0 calls reduce_scatter(F32, 12 bytes out, 4 in) on ep [4,0,2]"}));
    DeviceCall other = call(all_reduce, 2, {3});
    other.dtype = DType::BF16;
    EXPECT_THAT(disagreement_of({call(all_reduce, 4, {3}), call(all_reduce, 0, {3}), other}),
                Optional(StartsWith("dtypes differ: rank 4 calls all_reduce(F32, 12 bytes out, 12 in) on ep [4,0,2], "
                                    "rank 2 calls all_reduce(BF16, 6 bytes")));
    other = call(all_reduce, 2, {3});
    other.what = "norms";
    EXPECT_THAT(disagreement_of({call(all_reduce, 4, {3}), other}), Optional(StartsWith("purposes differ")));
    other = call(broadcast, 2, {3});
    other.root_idx = 1;
    EXPECT_THAT(disagreement_of({call(broadcast, 4, {3}), other}), Optional(StartsWith("roots differ")));
    EXPECT_THAT(disagreement_of({call(all_reduce, 4, {3}), call(all_reduce, 0, {4})}),
                Optional(StartsWith("counts differ: rank 4")));
}

TEST(DisagreementTest, ComparesEveryPairOfAnAllToAll) {
    using enum CollectiveKind;
    // One side skips a pair that the other waits for.
    EXPECT_THAT(disagreement_of({call(all_to_all, 4, {1, 2, 3}, {1, 4, 0}), call(all_to_all, 0, {4, 0, 5}, {2, 0, 6}),
                                 call(all_to_all, 2, {0, 0, 7}, {3, 5, 7})}),
                Optional(AllOf(HasSubstr("rank 0 calls all_to_all(F32, 36 bytes out, 32 in) on ep [4,0,2] (5 elements "
                                         "to that peer, 6 from it)"),
                               HasSubstr("(0 elements to that peer, 5 from it)"))));
}

TEST(DisagreementTest, SeesWhatACallContradictsByItself) {
    using enum CollectiveKind;
    EXPECT_THAT(disagreement_of({call(all_gather, 4, {1, 1})}), Optional(HasSubstr("not one count a member")));
    EXPECT_THAT(disagreement_of({call(all_to_all, 4, {1, 1, 1}, {1, 1})}), Optional(HasSubstr("receive count")));
    EXPECT_THAT(disagreement_of({call(all_to_all, 4, {1, 1, 1}, {2, 1, 1})}), Optional(HasSubstr("itself differ")));
    EXPECT_THAT(disagreement_of({call(all_reduce, 4, {-1})}), Optional(HasSubstr("negative count")));
    DeviceCall bad = call(broadcast, 4, {1});
    bad.root_idx = 3;
    EXPECT_THAT(disagreement_of({bad}), Optional(HasSubstr("its root is no member")));
    bad = call(all_reduce, 4, {1});
    bad.send = nullptr;
    EXPECT_THAT(disagreement_of({bad}), Optional(HasSubstr("no buffer")));
}

TEST(RankGroupTest, RefusesTheIndexOfAStranger) {
    EXPECT_EQ(kGroup.idx_of(Rank{2}), 2U);
    EXPECT_THROW((void)kGroup.idx_of(Rank{1}), BugError);
}

}  // namespace
}  // namespace shardproof::gpu
