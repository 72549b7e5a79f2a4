// Faults in dumps under other programs' names, and content that is there more than once.
#include "sim/verify/names.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/verify/test_dumps.hpp"

namespace shardproof::verify {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Optional;
using testing::RankDump;
using testing::WholeDump;
using testing::World;

World infer() { return {testing::Sizes{}, {.dp_shard = 2, .tp = 2, .ep = 4}}; }
const std::string kW1 = "layers.0.moe.experts.w1";

WholeDump hf_dump(const World& world) {
    WholeDump theirs;
    const WholeDump ours = world.dump();
    for (std::size_t r = 0; r < ours.size(); ++r)
        theirs.push_back(testing::under_hf_names(ours[r], world, static_cast<std::int64_t>(r)));
    return theirs;
}
WholeDump vllm_dump(const World& world, const WholeDump& ours) {
    WholeDump theirs;
    for (std::size_t r = 0; r < ours.size(); ++r)
        theirs.push_back(
            testing::under_vllm_names(ours[r], testing::under_hf_names(ours[r], world, static_cast<std::int64_t>(r))));
    return theirs;
}
std::string expert(std::int64_t e, const std::string& projection) {
    return "model.layers.0.mlp.experts." + std::to_string(e) + "." + projection + ".weight";
}

TEST(Names, AreStrippedOfWrappersAndShapes) {
    EXPECT_EQ(canonical_name("module.model.layers.0._orig_mod.norm.weight", false), "layers.0.norm.weight");
    EXPECT_EQ(canonical_name("language_model.model.layers.1.x", false), "layers.1.x");
    EXPECT_EQ(canonical_name("model.language_model.layers.1.x", false), "layers.1.x");
    EXPECT_EQ(canonical_name("layers.0.moe.experts.w1_EFD", true), "layers.0.moe.experts.w1");
    EXPECT_EQ(canonical_name("layers.0.moe.experts.w1_EFD", false), "layers.0.moe.experts.w1_EFD");
    EXPECT_EQ(canonical_name("layers.0.mlp.experts.w2_weight", true), "layers.0.mlp.experts.w2_weight");
    EXPECT_EQ(canonical_name("my_model.weight", false), "my_model.weight");
}

TEST(Names, OfOtherExpertsSayWhichTheRankHolds) {
    const World world = infer();
    WholeDump dump = hf_dump(world);
    const RankDump other = dump[2];
    for (const std::int64_t e : {2, 3}) dump[1].erase(expert(e, "gate_proj"));
    for (const std::int64_t e : {4, 5}) dump[1].emplace(expert(e, "gate_proj"), other.at(expert(e, "gate_proj")));
    const Report report = world.report(dump);
    ASSERT_EQ(report.differences.size(), 1U);
    EXPECT_EQ(report.differences[0].param, kW1);
    EXPECT_EQ(report.differences[0].kind, Kind::wrong_expert);
    EXPECT_THAT(report.differences[0].found_experts, ElementsAre(4, 5));
    EXPECT_EQ(report.differences[0].found_rank, Rank{2});
}

TEST(Names, OfAnExpertThatIsNotThereIsMissing) {
    const World world = infer();
    WholeDump dump = hf_dump(world);
    dump[1].erase(expert(3, "gate_proj"));
    const Report report = world.report(dump);
    ASSERT_EQ(report.differences.size(), 1U);
    EXPECT_EQ(report.differences[0].kind, Kind::missing);
    EXPECT_THAT(report.differences[0].also, IsEmpty());
    EXPECT_EQ(report.differences[0].found, "expert 3 not there");
    EXPECT_EQ(report.differences[0].count, 12 * 16);
    EXPECT_EQ(report.differences[0].first, (std::vector<std::int64_t>{3, 0, 0}));
}

TEST(Names, OfExpertsBeyondThePlannedOnesAreUnexpected) {
    const World world = infer();
    WholeDump dump = hf_dump(world);
    dump[1].emplace(expert(6, "up_proj"), dump[3].at(expert(6, "up_proj")));
    const Report report = world.report(dump);
    ASSERT_EQ(report.differences.size(), 1U);
    EXPECT_EQ(report.differences[0].kind, Kind::unexpected);
    EXPECT_EQ(report.differences[0].param, "layers.0.moe.experts.w3");
    EXPECT_THAT(report.differences[0].found_experts, ElementsAre(6));
}

TEST(Names, OfLocalIdsAreRecognised) {
    const World world = infer();
    WholeDump dump = hf_dump(world);
    for (std::int64_t rank = 1; rank < 4; ++rank) {
        RankDump& held = dump[static_cast<std::size_t>(rank)];
        for (const char* const projection : {"gate_proj", "up_proj", "down_proj"}) {
            for (std::int64_t slot = 0; slot < 2; ++slot) {
                auto node = held.extract(expert(rank * 2 + slot, projection));
                node.key() = expert(slot, projection);
                held.insert(std::move(node));
            }
        }
    }
    const Report report = world.report(dump);
    ASSERT_EQ(report.differences.size(), 9U);
    EXPECT_EQ(report.differences[0].kind, Kind::missing);
    EXPECT_EQ(report.differences[0].found, "experts 2..3, in tensors named for experts 0..1");
    EXPECT_THAT(report.differences[0].found_experts, ElementsAre(2, 3));
    EXPECT_THAT(report.cause, Optional(HasSubstr("saved under local ids")));
}

TEST(Names, OfVllmsFusedTensorsAreTakenApart) {
    const World world = infer();
    WholeDump ours = world.dump();
    std::swap(ours[1][kW1], ours[1]["layers.0.moe.experts.w3"]);
    ours[2]["layers.0.attention.wk.weight"] = world.shard("layers.0.attention.wk.weight", 1);
    const Report report = world.report(vllm_dump(world, ours));
    EXPECT_EQ(report.names, "vllm");
    ASSERT_EQ(report.differences.size(), 3U);
    EXPECT_EQ(report.differences[0].kind, Kind::swapped_gate_up);
    EXPECT_EQ(report.differences[1].kind, Kind::swapped_gate_up);
    EXPECT_EQ(report.differences[2].kind, Kind::wrong_rank);
    EXPECT_EQ(report.differences[2].param, "layers.0.attention.wk.weight");
    EXPECT_EQ(report.differences[2].found_rank, Rank{1});
}

TEST(Names, OfFusedTensorsTurnedRound) {
    const World world = infer();
    WholeDump dump = vllm_dump(world, world.dump());
    const std::string w13 = "model.layers.0.mlp.experts.w13_weight";
    dump[1][w13] = testing::turned(dump[1][w13]);
    const Report report = world.report(dump);
    ASSERT_EQ(report.differences.size(), 2U);
    for (const Difference& d : report.differences) EXPECT_EQ(d.kind, Kind::transposed) << d.found;
}

// A checkpoint that stores gate and up side by side, transposed, as one tensor for all experts.
TEST(Names, OfFusedCheckpointsAreTheCheckpointsOwn) {
    std::vector<Parameter> parameters = shardproof::testing::parameters_of({});
    const std::vector<Parameter> fused = shardproof::testing::fused_experts(8, 12, 16);
    for (Parameter& parameter : parameters) {
        for (const Parameter& with_source : fused) {
            if (with_source.role == parameter.role) parameter.sources = with_source.sources;
        }
    }
    const World world(shardproof::testing::config_of({}), parameters, {.dp_shard = 2, .tp = 2, .ep = 4}, "titan-infer",
                      DType::BF16);
    const WholeDump ours = world.dump();
    EXPECT_THAT(world.report(ours).differences, IsEmpty());
    WholeDump theirs = hf_dump(world);
    for (std::size_t r = 0; r < theirs.size(); ++r) {
        for (std::int64_t e = 0; e < 8; ++e) {
            for (const char* const projection : {"gate_proj", "up_proj"}) theirs[r].erase(expert(e, projection));
        }
        theirs[r].emplace(
            "gate_up", testing::turned(testing::rows_joined({ours[r].at(kW1), ours[r].at("layers.0.moe.experts.w3")})));
    }
    const Report clean = world.report(theirs);
    EXPECT_EQ(clean.names, "hf");
    EXPECT_THAT(clean.differences, IsEmpty());
    std::swap(theirs[0]["gate_up"], theirs[1]["gate_up"]);
    const Report report = world.report(theirs);
    ASSERT_EQ(report.differences.size(), 4U);
    for (const Difference& d : report.differences) EXPECT_EQ(d.kind, Kind::wrong_expert) << d.found;
}

TEST(Names, OfNoProgramAreMissingAndUnexpected) {
    const World world(testing::Sizes{}, {.tp = 2});
    WholeDump dump = world.dump();
    WholeDump renamed(dump.size());
    for (std::size_t r = 0; r < dump.size(); ++r) {
        for (const auto& [name, tensor] : dump[r]) renamed[r].emplace("net/" + name, tensor);
    }
    const Report report = world.report(renamed);
    EXPECT_EQ(report.differences.size(), 4 * world.plan->params.size());
    EXPECT_THAT(report.cause, Optional(HasSubstr("names of another program")));
}

// Content that is in the checkpoint twice.
World with_equal(const std::string& a, const std::string& b, const testing::Sizes& sizes,
                 const testing::Degrees& degrees) {
    const std::vector<Parameter> parameters = shardproof::testing::parameters_of(sizes);
    testing::Tensors numbers = testing::numbers_for(parameters, DType::BF16);
    numbers.at(b) = numbers.at(a);
    return {shardproof::testing::config_of(sizes), parameters, degrees, "titan-infer", DType::BF16, numbers};
}

TEST(Ambiguous, ExpertsAreNotGuessed) {
    const World world =
        with_equal(expert(4, "gate_proj"), expert(6, "gate_proj"), testing::Sizes{}, {.dp_shard = 2, .tp = 2, .ep = 4});
    WholeDump dump = world.dump();
    dump[0][kW1] = world.shard(world.idx(kW1), {{{0, 1}, {6, 7}}, {{0, 12}}, {{0, 16}}});
    const Report report = world.report(dump);
    ASSERT_EQ(report.differences.size(), 1U);
    const Difference& d = report.differences[0];
    EXPECT_EQ(d.kind, Kind::wrong_expert);
    EXPECT_THAT(d.found_experts, IsEmpty());
    EXPECT_EQ(d.found_rank, std::nullopt);
    EXPECT_THAT(d.found, HasSubstr("ambiguous: the same values are in " + kW1 + " expert"));
}

TEST(Ambiguous, EqualContentInTheRightPlaceIsRight) {
    const World world =
        with_equal(expert(4, "gate_proj"), expert(6, "gate_proj"), testing::Sizes{}, {.dp_shard = 2, .tp = 2, .ep = 4});
    WholeDump dump = world.dump();
    dump[3][kW1] = world.shard(world.idx(kW1), {{{4, 5}, {7, 8}}, {{0, 12}}, {{0, 16}}});
    EXPECT_THAT(world.report(dump).differences, IsEmpty());
}

TEST(Ambiguous, EqualEmbeddingsAndHeadAreBothNamed) {
    const World world = with_equal("model.embed_tokens.weight", "lm_head.weight", testing::Sizes{}, {.tp = 2});
    WholeDump dump = world.dump();
    dump[1]["tok_embeddings.weight"] = world.shard("tok_embeddings.weight", 0);
    const Report report = world.report(dump);
    ASSERT_EQ(report.differences.size(), 1U);
    EXPECT_EQ(report.differences[0].kind, Kind::wrong_rank);
    EXPECT_EQ(report.differences[0].found_rank, Rank{0});
    EXPECT_THAT(report.differences[0].found, HasSubstr("ambiguous: the same values are in lm_head.weight rows 0..19"));
}

TEST(Ambiguous, ConstantRowsOfTheCheckpointArePlacedByTheirNeighbours) {
    const std::vector<Parameter> parameters = shardproof::testing::parameters_of({});
    testing::Tensors numbers = testing::numbers_for(parameters, DType::BF16);
    Tensor& embeddings = numbers.at("model.embed_tokens.weight");
    std::fill_n(embeddings.bytes.begin() + 3 * 32, 2 * 32, std::byte{0});  // rows 3 and 4
    const World world(shardproof::testing::config_of({}), parameters, {.tp = 2}, "titan-infer", DType::BF16, numbers);
    WholeDump dump = world.dump();
    EXPECT_THAT(world.report(dump).differences, IsEmpty());
    dump[1]["tok_embeddings.weight"] = world.shard("tok_embeddings.weight", 0);
    const Report report = world.report(dump);
    ASSERT_EQ(report.differences.size(), 1U);
    EXPECT_EQ(report.differences[0].kind, Kind::wrong_rank);
    EXPECT_THAT(report.differences[0].also, IsEmpty());
    EXPECT_EQ(report.differences[0].found_rank, Rank{0});
}

}  // namespace
}  // namespace shardproof::verify
