#include "oracle/model/batch.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "oracle/model/error.hpp"
#include "oracle/model/file_fixtures.hpp"
#include "oracle/model/safetensors.hpp"

namespace shardproof {
namespace {

using fixtures::TemporaryFolder;
using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::Ge;
using testing::HasSubstr;
using testing::Lt;
using testing::ThrowsMessage;

ModelConfig with_vocabulary(std::int64_t vocab_size) {
    ModelConfig config;
    config.vocab_size = vocab_size;
    return config;
}

std::vector<std::int64_t> dp_of(std::int64_t num_sequences, std::int64_t num_dp) {
    std::vector<std::int64_t> dp;
    for (const Sequence& s :
         deal_batch(std::vector<std::int64_t>(static_cast<std::size_t>(num_sequences)), num_sequences, 1, num_dp)
             .sequences) {
        dp.push_back(s.dp_idx);
    }
    return dp;
}

TEST(DealBatch, DealsRowsAsTorchChunk) {
    EXPECT_THAT(dp_of(5, 4), ElementsAre(0, 0, 1, 1, 2));  // the last rank gets nothing
    EXPECT_THAT(dp_of(7, 3), ElementsAre(0, 0, 0, 1, 1, 1, 2));
    EXPECT_THAT(dp_of(2, 4), ElementsAre(0, 1));
    EXPECT_THAT(dp_of(4, 1), ElementsAre(0, 0, 0, 0));
    EXPECT_THAT(dp_of(0, 4), ElementsAre());
}

TEST(DealBatch, NumbersTokensSequenceMajor) {
    const Batch batch = deal_batch({1, 2, 3, 4, 5, 6, 7}, 3, 3, 2);  // the last sequence is short
    EXPECT_EQ(batch.num_tokens(), 7);
    EXPECT_THAT(batch.sequences[1].ids, ElementsAre(4, 5, 6));
    EXPECT_THAT(batch.sequences[2].ids, ElementsAre(7));
    EXPECT_EQ(batch.first_token(2), TokenId{6});
    EXPECT_EQ(batch.first_token(0), TokenId{0});
}

TEST(DealBatch, TakesSequencesWithoutTokens) {
    const Batch batch = deal_batch({}, 3, 0, 2);
    EXPECT_EQ(batch.sequences.size(), 3U);
    EXPECT_EQ(batch.num_tokens(), 0);
}

TEST(DealBatch, RefusesIdsThatDoNotFillTheShape) {
    EXPECT_THROW((void)deal_batch({1, 2, 3}, 1, 2, 1), BugError);
    EXPECT_THROW((void)deal_batch({1, 2}, 3, 2, 1), BugError);
    EXPECT_THROW((void)deal_batch({1}, 1, 1, 0), BugError);
}

TEST(RandomInputIds, ArePinnedBySeedAndFillTheVocabulary) {
    const InputIds ids = random_input_ids(35, 7, with_vocabulary(5));
    EXPECT_EQ(ids.num_sequences, 3);
    EXPECT_EQ(ids.sequence_length, 16);
    EXPECT_EQ(ids.ids.size(), 35U);
    EXPECT_THAT(ids.ids, Each(AllOf(Ge(0), Lt(5))));
    for (std::int64_t id = 0; id < 5; ++id) EXPECT_THAT(ids.ids, testing::Contains(id));
    EXPECT_EQ(ids.ids, random_input_ids(35, 7, with_vocabulary(5)).ids);
    EXPECT_NE(ids.ids, random_input_ids(35, 8, with_vocabulary(5)).ids);
    // splitmix64's published first outputs for seed 1234567.
    const InputIds wide = random_input_ids(2, 1234567, with_vocabulary(std::int64_t{1} << 62));
    EXPECT_THAT(wide.ids, ElementsAre(6457827717110365317 % (std::int64_t{1} << 62), 3203168211198807973));
}

RC_GTEST_PROP(RandomInputIds, CanBeDealt, ()) {
    const auto tokens = *rc::gen::inRange<std::int64_t>(0, 70);
    const auto dp = *rc::gen::inRange<std::int64_t>(1, 9);
    const InputIds ids = random_input_ids(tokens, 1, with_vocabulary(11));
    const Batch batch = deal_batch(ids.ids, ids.num_sequences, ids.sequence_length, dp);
    RC_ASSERT(batch.num_tokens() == tokens);
    for (const Sequence& s : batch.sequences) RC_ASSERT(!s.ids.empty() && s.ids.size() <= 16 && s.dp_idx < dp);
}

class InputIdsFile : public testing::Test {
protected:
    void write(std::string_view dtype, std::string_view shape, std::string_view data,
               std::string_view name = "input_ids") {
        fixtures::write_text(file_,
                             fixtures::file_text("{\"" + std::string(name) + "\":{\"dtype\":\"" + std::string(dtype) +
                                                     "\",\"shape\":" + std::string(shape) + ",\"data_offsets\":[0," +
                                                     std::to_string(data.size()) + "]}}",
                                                 data));
    }
    auto reading(std::int64_t vocab_size = 300) {
        return [this, vocab_size] { (void)read_input_ids(file_, with_vocabulary(vocab_size)); };
    }

    TemporaryFolder folder_;
    std::filesystem::path file_ = folder_ / "ids.safetensors";
};

TEST_F(InputIdsFile, IsReadInEveryIntegerDtype) {
    for (const auto& [dtype, width] : std::vector<std::pair<std::string_view, std::size_t>>{
             {"U8", 1}, {"I8", 1}, {"U16", 2}, {"I16", 2}, {"U32", 4}, {"I32", 4}, {"U64", 8}, {"I64", 8}}) {
        std::string data(3 * width, '\0');
        for (std::size_t i = 0; i < 3; ++i) data[i * width] = static_cast<char>(i + 100);
        write(dtype, "[1,3]", data);
        const InputIds ids = read_input_ids(file_, with_vocabulary(103));
        EXPECT_EQ(ids.num_sequences, 1) << dtype;
        EXPECT_EQ(ids.sequence_length, 3) << dtype;
        EXPECT_THAT(ids.ids, ElementsAre(100, 101, 102)) << dtype;
    }
}

TEST_F(InputIdsFile, NamesTheIdThatIsOutOfRange) {
    write("U8", "[2,2]", "\1\2\3\4");
    EXPECT_THAT(reading(4), ThrowsMessage<InputError>(HasSubstr("input_ids[1,1]=4: must be from 0 to 3")));
    write("I8", "[2,2]", "\1\2\xff\4");
    EXPECT_THAT(reading(), ThrowsMessage<InputError>(HasSubstr("input_ids[1,0]=-1: must be from 0 to 299")));
    write("U64", "[1,1]", "\xff\xff\xff\xff\xff\xff\xff\xff");
    EXPECT_THAT(reading(), ThrowsMessage<InputError>(HasSubstr("input_ids[0,0]=18446744073709551615")));
}

TEST_F(InputIdsFile, RefusesAnotherTypeRankOrName) {
    write("F32", "[1,1]", std::string(4, 0));
    EXPECT_THAT(reading(), ThrowsMessage<InputError>(HasSubstr("input_ids.dtype=F32: must be an integer")));
    write("BOOL", "[1,1]", "\1");
    EXPECT_THAT(reading(), ThrowsMessage<InputError>(HasSubstr("input_ids.dtype=BOOL")));
    write("U8", "[2]", "\1\1");
    EXPECT_THAT(reading(), ThrowsMessage<InputError>(HasSubstr("input_ids.shape=[2]: must be [sequences, tokens]")));
    write("U8", "[1,1]", "\1", "ids");
    EXPECT_THAT(reading(), ThrowsMessage<InputError>(HasSubstr("input_ids: tensor missing")));
    EXPECT_THAT([this] { (void)read_input_ids(folder_ / "absent", with_vocabulary(3)); },
                ThrowsMessage<InputError>(HasSubstr("absent: file missing")));
}

TEST_F(InputIdsFile, TakesNoTokensButNotEndlessEmptySequences) {
    write("I64", "[3,0]", "");
    EXPECT_EQ(read_input_ids(file_, with_vocabulary(3)).num_sequences, 3);
    write("I64", "[4611686018427387904,0]", "");
    EXPECT_THAT(reading(),
                ThrowsMessage<InputError>(HasSubstr("must not have more than 1048576 sequences without tokens")));
}

}  // namespace
}  // namespace shardproof
