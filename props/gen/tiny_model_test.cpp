#include "props/gen/tiny_model.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "props/gen/draw_case.hpp"

namespace shardproof::props {
namespace {

TEST(TinyModel, HoldsTheTensorsOfItsFamilyForAnyCase) {
    sim::Prng prng{8};
    for (int i = 0; i < 200; ++i) {
        const Case c = draw_case(prng);
        EXPECT_NO_THROW((void)make_tiny_model(c)) << print_case(c);
    }
}

TEST(TinyModel, IsTheSameValuesInEachDtypeButForRounding) {
    Case c = parse_case("hidden=16,experts=3,moe_hidden=5,vocab=9,seed=11");
    const Model wide = make_tiny_model(c);
    for (const DType dtype : {DType::BF16, DType::F16}) {
        c.model.dtype = dtype;
        const Model narrow = make_tiny_model(c);
        const double relative = dtype == DType::BF16 ? 0x1p-8 : 0x1p-11;
        for (const auto& [name, item] : wide.checkpoint.items()) {
            const TensorView want = wide.checkpoint.tensor(name);
            const TensorView got = narrow.checkpoint.tensor(name);
            ASSERT_EQ(got.dtype, dtype);
            for (std::int64_t e = 0; e < num_elements(want.shape); ++e) {
                const double value = element_as_double(want, e);
                ASSERT_NEAR(element_as_double(got, e), value, relative * std::abs(value) + 0x1p-24) << name;
            }
        }
    }
}

TEST(TinyModel, IsDealtOverItsFiles) {
    EXPECT_EQ(make_tiny_model(parse_case("files=3")).checkpoint.files().size(), 3U);
}

TEST(TinyModel, TiesHaveEqualGateRows) {
    const Case c = parse_case("experts=5,routing=exact_ties,seed=3");
    const Model model = make_tiny_model(c);
    const TensorView gate = model.checkpoint.tensor("model.layers.0.mlp.gate.weight");
    const auto row = [&](std::int64_t e, std::int64_t d) { return element_as_double(gate, e * c.model.hidden + d); };
    for (std::int64_t d = 0; d < c.model.hidden; ++d) {
        EXPECT_EQ(row(0, d), row(1, d));
        EXPECT_EQ(row(2, d), row(3, d));
        EXPECT_NE(row(0, d), row(2, d));
        EXPECT_NE(row(2, d), row(4, d));
    }
}

TEST(TinyBatch, DealsTokensAsTheCaseSays) {
    const Batch batch = make_batch(parse_case("dp_shard=2,hidden=8,experts=2,vocab=7,seqs=1:3+0:0+0:2,seed=5"));
    ASSERT_EQ(batch.sequences.size(), 3U);
    EXPECT_EQ(batch.sequences[0].dp_idx, 1);
    EXPECT_EQ(batch.sequences[0].ids.size(), 3U);
    EXPECT_EQ(batch.num_tokens(), 5);
    for (const Sequence& sequence : batch.sequences) {
        for (const std::int64_t id : sequence.ids) {
            EXPECT_GE(id, 0);
            EXPECT_LT(id, 7);
        }
    }
}

}  // namespace
}  // namespace shardproof::props
