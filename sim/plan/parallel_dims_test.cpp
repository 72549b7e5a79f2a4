#include "sim/plan/parallel_dims.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "oracle/model/error.hpp"

namespace shardproof {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr std::int64_t kHuge = std::int64_t{1} << 40;

RawDims raw(std::int64_t r, std::int64_t s, std::int64_t c, std::int64_t t, std::int64_t p, std::int64_t x,
            std::optional<std::int64_t> world = std::nullopt) {
    return {.dp_replicate = r, .dp_shard = s, .cp = c, .tp = t, .pp = p, .ep = x, .world = world};
}

void expect_refused(const RawDims& dims, const char* field_and_value, const char* rule) {
    EXPECT_THAT(
        [&] { (void)ParallelDims::parse(dims); },
        ThrowsMessage<InputError>(AllOf(HasSubstr("command line"), HasSubstr(field_and_value), HasSubstr(rule))));
}

TEST(ParallelDims, TakesTheValidLayoutsOfTheTable) {
    EXPECT_EQ(ParallelDims::parse(raw(1, 4, 1, 2, 1, 4, 8)).efsdp(), 2);
    EXPECT_EQ(ParallelDims::parse(raw(1, 4, 1, 2, 1, 8, 8)).efsdp(), 1);
    EXPECT_EQ(ParallelDims::parse(raw(1, 2, 1, 4, 1, 2, 8)).efsdp(), 4);
    EXPECT_EQ(ParallelDims::parse(raw(2, 2, 1, 2, 1, 2, 8)).efsdp(), 2);
    EXPECT_EQ(ParallelDims::parse(raw(1, 2, 1, 3, 1, 2, 6)).efsdp(), 3);  // ep and tp are no multiples of each other
}

TEST(ParallelDims, DerivesDpShardFromTheWorld) {
    EXPECT_EQ(ParallelDims::parse(raw(1, -1, 1, 2, 1, 4, 8)).dp_shard(), 4);
    EXPECT_EQ(ParallelDims::parse(raw(2, -1, 2, 2, 1, 1, 8)).dp_shard(), 1);
}

TEST(ParallelDims, RejectsADegreeBelowOneByName) {
    expect_refused(raw(0, 1, 1, 1, 1, 1), "--dp-replicate=0", "must be >= 1");
    expect_refused(raw(1, 1, 0, 1, 1, 1), "--cp=0", "must be >= 1");
    expect_refused(raw(1, 1, 1, -1, 1, 1), "--tp=-1", "must be >= 1");
    expect_refused(raw(1, 1, 1, 1, 0, 1), "--pp=0", "must be >= 1");
    expect_refused(raw(1, 1, 1, 1, 1, 0), "--ep=0", "must be >= 1");
    expect_refused(raw(1, 1, 1, 1, 1, 1, 0), "--world=0", "must be >= 1");
    expect_refused(raw(1, 0, 1, 1, 1, 1), "--dp-shard=0", "-1 to derive");
    expect_refused(raw(1, -2, 1, 1, 1, 1), "--dp-shard=-2", "-1 to derive");
}

TEST(ParallelDims, RejectsDegreesThatDoNotMultiplyToTheWorld) {
    expect_refused(raw(1, 3, 1, 2, 1, 2, 8), "--world=8", "(1*3*1*2*1) = 6");
    expect_refused(raw(1, -1, 1, 3, 1, 1, 8), "--world=8", "to derive --dp-shard");
    expect_refused(raw(1, -1, 1, 3, 1, 1), "--dp-shard=-1", "needs --world");
    expect_refused(raw(4, -1, 1, 4, 1, 1, 8), "--world=8", "to derive --dp-shard");
}

TEST(ParallelDims, RejectsEpThatDoesNotDivideTheInnerRanks) {
    expect_refused(raw(1, 4, 1, 2, 1, 3), "--ep=3", "must divide dp_shard*cp*tp (4*1*2) = 8");
    expect_refused(raw(2, 2, 1, 2, 1, 8), "--ep=8", "= 4");   // an ep group never crosses dp_replicate
    expect_refused(raw(8, 1, 1, 1, 1, 2), "--ep=2", "= 1");
    expect_refused(raw(1, 2, 1, 2, 2, 8), "--ep=8", "= 4");   // nor pp
}

TEST(ParallelDims, RejectsDegreesWhoseProductWouldOverflow) {
    expect_refused(raw(kHuge, kHuge, kHuge, kHuge, kHuge, kHuge), "--dp-replicate=1099511627776",
                   "must be <= 16777216");
    expect_refused(raw(1, kHuge, 1, 1, 1, 1), "--dp-shard=1099511627776", "must be <= 16777216");
    expect_refused(raw(4096, 4096, 1, 2, 1, 1), "--tp=2", "more than 16777216 ranks");
    expect_refused(raw(4096, -1, 4096, 4096, 1, 1, 8), "--tp=4096", "more than 16777216 ranks");
    expect_refused(raw(1, 1, 1, 1, 1, 1, kHuge), "--world=1099511627776", "must be <= 16777216");
}

}  // namespace
}  // namespace shardproof
