// Every kind of difference, planted in a dump as `load` writes it: what it is called, and what is said to be there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "sim/verify/test_dumps.hpp"

namespace shardproof::verify {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::RankDump;
using testing::WholeDump;
using testing::World;
using Coordinates = std::vector<std::int64_t>;

testing::Sizes sizes() {
    testing::Sizes s;
    s.layers = 2;
    return s;
}
// Rank r: tp rank r % 2, experts 2r and 2r + 1 of 8.
World infer() { return {sizes(), {.dp_shard = 2, .tp = 2, .ep = 4}}; }

const std::string kW1 = "layers.1.moe.experts.w1";
const std::string kW2 = "layers.1.moe.experts.w2";
const std::string kW3 = "layers.1.moe.experts.w3";
const std::string kWq = "layers.0.attention.wq.weight";
const std::string kWo = "layers.0.attention.wo.weight";

std::int64_t num_different(const Tensor& a, const Tensor& b) {
    const std::vector<float> ours = testing::floats_of(a);
    const std::vector<float> theirs = testing::floats_of(b);
    std::int64_t count = 0;
    for (std::size_t i = 0; i < ours.size(); ++i) count += ours[i] == theirs[i] ? 0 : 1;
    return count;
}

void fill(Tensor& tensor, std::size_t begin, std::size_t count, float value) {
    Tensor one = testing::tensor_of(tensor.dtype, {1}, {value});
    for (std::size_t i = begin; i < begin + count; ++i)
        std::copy(one.bytes.begin(), one.bytes.end(),
                  tensor.bytes.begin() + static_cast<std::ptrdiff_t>(i * one.bytes.size()));
}

// The one difference of a dump.
Difference only(const World& world, const WholeDump& dump) {
    Report report = world.report(dump);
    EXPECT_EQ(report.differences.size(), 1U);
    for (const Difference& d : report.differences)
        EXPECT_EQ(&d, &report.differences.front()) << d.rank.value() << d.param << name_of(d.kind) << d.found;
    return report.differences.empty() ? Difference{} : report.differences.front();
}

TEST(Kinds, AnotherRanksExpertsAreNamedWithTheirRank) {
    const World world = infer();
    WholeDump dump = world.dump();
    dump[3][kW1] = world.shard(kW1, 2);
    const Difference d = only(world, dump);
    EXPECT_EQ(d.rank, Rank{3});
    EXPECT_EQ(d.param, kW1);
    EXPECT_EQ(d.kind, Kind::wrong_expert);
    EXPECT_THAT(d.also, IsEmpty());
    EXPECT_EQ(d.expected, "experts 6..7");
    EXPECT_EQ(d.found, "experts 4..5 (rank 2's shard)");
    EXPECT_THAT(d.found_experts, ElementsAre(4, 5));
    EXPECT_EQ(d.found_rank, Rank{2});
    EXPECT_EQ(d.first, (Coordinates{6, 0, 0}));
    EXPECT_EQ(d.count, num_different(world.shard(kW1, 3), world.shard(kW1, 2)));
}

TEST(Kinds, ExpertsOfNoRanksShardHaveNoRank) {
    const World world = infer();
    WholeDump dump = world.dump();
    dump[1][kW2] = world.shard(world.idx(kW2), {{{2, 3}, {7, 8}}, {{0, 16}}, {{0, 12}}});
    const Difference d = only(world, dump);
    EXPECT_EQ(d.kind, Kind::wrong_expert);
    EXPECT_EQ(d.found, "experts 2, 7");
    EXPECT_THAT(d.found_experts, ElementsAre(2, 7));
    EXPECT_EQ(d.found_rank, std::nullopt);
    EXPECT_EQ(d.first, (Coordinates{3, 0, 0}));
}

TEST(Kinds, ExpertsInAnotherOrderAreWrongExperts) {
    const World world = infer();
    WholeDump dump = world.dump();
    dump[1][kW2] = world.shard(world.idx(kW2), {{{3, 4}, {2, 3}}, {{0, 16}}, {{0, 12}}});
    const Difference d = only(world, dump);
    EXPECT_EQ(d.kind, Kind::wrong_expert);
    EXPECT_EQ(d.found, "experts 3, 2; in another order than planned");
    EXPECT_THAT(d.found_experts, ElementsAre(3, 2));
}

TEST(Kinds, AnotherRanksRowsAndColumnsAreNamedWithTheirRank) {
    const World world = infer();
    WholeDump dump = world.dump();
    dump[1][kWq] = world.shard(kWq, 0);
    const Difference rows = only(world, dump);
    EXPECT_EQ(rows.kind, Kind::wrong_rank);
    EXPECT_EQ(rows.expected, "rows 12..23 (rank 1's shard)");
    EXPECT_EQ(rows.found, "rows 0..11 (rank 0's shard)");
    EXPECT_EQ(rows.found_rank, Rank{0});
    EXPECT_EQ(rows.first, (Coordinates{12, 0}));
    EXPECT_THAT(rows.found_experts, IsEmpty());

    dump = world.dump();
    dump[2][kWo] = world.shard(kWo, 3);
    const Difference columns = only(world, dump);
    EXPECT_EQ(columns.kind, Kind::wrong_rank);
    EXPECT_EQ(columns.found, "columns 12..23 (rank 1's shard)");
    EXPECT_EQ(columns.found_rank, Rank{1});  // the first of those that hold it
    EXPECT_EQ(columns.first, (Coordinates{0, 0}));
}

TEST(Kinds, VectorsOfAnotherRankAreFound) {
    const World world(sizes(), {.dp_shard = 4, .tp = 1, .ep = 1}, "titan-train");
    WholeDump dump = world.dump();
    dump[0]["norm.weight"] = world.shard("norm.weight", 2);
    const Difference d = only(world, dump);
    EXPECT_EQ(d.kind, Kind::wrong_rank);
    EXPECT_EQ(d.found, "elements 8..11 (rank 2's shard)");
    EXPECT_EQ(d.found_rank, Rank{2});
}

TEST(Kinds, TheSameExpertTwiceIsDuplicated) {
    const World world = infer();
    WholeDump dump = world.dump();
    dump[1][kW3] = world.shard(world.idx(kW3), {{{2, 3}, {2, 3}}, {{0, 12}}, {{0, 16}}});
    const Difference d = only(world, dump);
    EXPECT_EQ(d.kind, Kind::duplicated);
    EXPECT_EQ(d.found, "experts 2, 2");
    EXPECT_THAT(d.found_experts, ElementsAre(2, 2));
    EXPECT_EQ(d.first, (Coordinates{3, 0, 0}));
}

TEST(Kinds, TheSameBlockTwiceIsDuplicated) {
    const World world = infer();
    WholeDump dump = world.dump();
    dump[1][kWq] = world.shard(world.idx(kWq), {{{12, 18}, {12, 18}}, {{0, 16}}});
    const Difference d = only(world, dump);
    EXPECT_EQ(d.kind, Kind::duplicated);
    EXPECT_EQ(d.found, "rows 12..17, 12..17");
    EXPECT_EQ(d.first, (Coordinates{18, 0}));
}

TEST(Kinds, GateAndUpForEachOtherAreTwoDifferences) {
    const World world = infer();
    WholeDump dump = world.dump();
    std::swap(dump[2][kW1], dump[2][kW3]);
    const Report report = world.report(dump);
    ASSERT_EQ(report.differences.size(), 2U);
    for (const Difference& d : report.differences) {
        EXPECT_EQ(d.kind, Kind::swapped_gate_up);
        EXPECT_THAT(d.also, IsEmpty());
        EXPECT_EQ(d.found_rank, std::nullopt);
        EXPECT_THAT(d.found_experts, ElementsAre(4, 5));
    }
    EXPECT_EQ(report.differences[0].found, kW3 + ", experts 4..5");
    EXPECT_EQ(report.differences[1].found, kW1 + ", experts 4..5");
}

TEST(Kinds, TransposedIsSeenWhateverTheDeclaredShape) {
    const World world = infer();
    for (const std::string& name : {kW1, kW2, kWq, kWo}) {
        WholeDump dump = world.dump();
        const Tensor right = world.shard(name, 1);
        dump[1][name] = testing::turned(right);
        const Difference declared = only(world, dump);
        EXPECT_EQ(declared.kind, Kind::transposed) << name;
        EXPECT_EQ(declared.found, "the planned values, transposed");
        EXPECT_EQ(declared.count, num_elements(right.shape));

        dump[1][name].shape = right.shape;
        const Difference undeclared = only(world, dump);
        EXPECT_EQ(undeclared.kind, Kind::transposed) << name;
        EXPECT_THAT(undeclared.also, IsEmpty()) << name;
        EXPECT_EQ(undeclared.count, num_different(dump[1][name], right)) << name;
    }
}

TEST(Kinds, ReadAsIfTransposedIsTransposed) {
    const World world = infer();
    WholeDump dump = world.dump();
    Tensor as_read = world.shard(kW1, 1);  // [2,12,16], its bytes taken for [2,16,12] and turned
    std::swap(as_read.shape[1], as_read.shape[2]);
    dump[1][kW1] = testing::turned(as_read);
    EXPECT_EQ(only(world, dump).kind, Kind::transposed);
}

TEST(Kinds, SquareMatricesMayBeTransposedBeforeTheyAreCut) {
    testing::Sizes s = sizes();
    s.heads = 4;
    s.head_dim = 4;  // wq is 16 by 16
    const World world(s, {.tp = 2});
    WholeDump dump = world.dump();
    const Tensor whole = testing::turned(world.shard(world.idx(kWq), {{{0, 16}}, {{0, 16}}}));
    dump[1][kWq].bytes.assign(whole.bytes.begin() + 8 * 16 * 2, whole.bytes.end());
    const Difference d = only(world, dump);
    EXPECT_EQ(d.kind, Kind::transposed);
    EXPECT_EQ(d.found, "transposed before it was cut");
}

TEST(Kinds, AnotherRanksExpertsTransposedAreBoth) {
    const World world = infer();
    WholeDump dump = world.dump();
    dump[1][kW1] = testing::turned(world.shard(kW1, 3));
    dump[1][kW1].shape = world.shard(kW1, 1).shape;
    const Difference d = only(world, dump);
    EXPECT_EQ(d.kind, Kind::transposed);
    EXPECT_THAT(d.also, ElementsAre(Kind::wrong_expert));
    EXPECT_THAT(d.found_experts, ElementsAre(6, 7));
}

TEST(Kinds, ZerosNanAndConstantsAreNotLoaded) {
    const World world = infer();
    for (const auto& [value, word] :
         {std::pair{0.0F, "zeros"}, std::pair{NAN, "NaN"}, std::pair{1.0F, "one constant"}}) {
        WholeDump dump = world.dump();
        fill(dump[2][kW2], 0, 2 * 16 * 12, value);
        const Difference d = only(world, dump);
        EXPECT_EQ(d.kind, Kind::not_loaded);
        EXPECT_THAT(d.also, IsEmpty());
        EXPECT_EQ(d.found, word);
        EXPECT_EQ(d.count, 2 * 16 * 12);
        EXPECT_EQ(d.first, (Coordinates{4, 0, 0}));
    }
}

TEST(Kinds, PartsMayBeNotLoaded) {
    const World world = infer();
    WholeDump dump = world.dump();
    fill(dump[2][kW2], 16 * 12, 16 * 12, NAN);  // the second expert
    Difference d = only(world, dump);
    EXPECT_EQ(d.kind, Kind::not_loaded);
    EXPECT_EQ(d.found, "NaN in part");
    EXPECT_EQ(d.count, 16 * 12);
    EXPECT_EQ(d.first, (Coordinates{5, 0, 0}));

    dump = world.dump();
    fill(dump[0]["norm.weight"], 5, 3, 0.0F);
    d = only(world, dump);
    EXPECT_EQ(d.kind, Kind::not_loaded);
    EXPECT_EQ(d.found, "zeros in part");
    EXPECT_EQ(d.count, 3);
    EXPECT_EQ(d.first, (Coordinates{5}));
}

float through_e4m3(float value) {
    const int exponent = std::max(std::ilogb(value), -6);
    const float step = std::ldexp(1.0F, exponent - 3);
    return std::nearbyint(value / step) * step;
}

TEST(Kinds, ValuesThroughANarrowerDtypeAreRounded) {
    const World world = infer();
    for (const DType declared : {DType::BF16, DType::F32}) {
        WholeDump dump = world.dump();
        std::vector<float> values = testing::floats_of(dump[1][kW3]);
        for (float& value : values) value = through_e4m3(value);
        dump[1][kW3] = testing::tensor_of(declared, dump[1][kW3].shape, values);
        const Difference d = only(world, dump);
        EXPECT_EQ(d.kind, Kind::rounded);
        EXPECT_THAT(d.also, IsEmpty());
        EXPECT_EQ(d.dtype_path, "BF16>F8_E4M3>" + std::string{name_of(declared)});
        EXPECT_EQ(d.count, num_different(world.shard(kW3, 1), dump[1][kW3]));
    }
}

TEST(Kinds, ADumpInANarrowerDtypeIsRoundedWhereItLosesSomething) {
    const World world(sizes(), {.tp = 2}, "titan-infer", DType::F32);
    WholeDump dump = world.dump();
    for (auto& [name, tensor] : dump[0]) tensor = testing::as_dtype(tensor, DType::BF16);
    EXPECT_THAT(world.report(dump).differences, IsEmpty());  // seven fraction bits lose nothing

    testing::Tensors finer = world.tensors;
    const ModelConfig config = shardproof::testing::config_of(sizes());
    const std::vector<Parameter> parameters = shardproof::testing::parameters_of(sizes());
    Tensor& gate = finer.at("model.layers.0.mlp.gate.weight");
    std::vector<float> values = testing::floats_of(gate);
    for (float& value : values) value *= 1.0F + 0x1p-12F;
    gate = testing::tensor_of(DType::F32, gate.shape, values);
    const World exact(config, parameters, {.tp = 2}, "titan-infer", DType::F32, finer);
    WholeDump narrow = exact.dump();
    for (auto& [name, tensor] : narrow[1]) tensor = testing::as_dtype(tensor, DType::BF16);
    const Difference d = only(exact, narrow);
    EXPECT_EQ(d.kind, Kind::rounded);
    EXPECT_EQ(d.dtype_path, "F32>BF16");
}

TEST(Kinds, RoundedExpertsOfAnotherRankAreBoth) {
    const World world = infer();
    WholeDump dump = world.dump();
    std::vector<float> values = testing::floats_of(world.shard(kW3, 2));
    for (float& value : values) value = through_e4m3(value);
    dump[1][kW3] = testing::tensor_of(DType::BF16, dump[1][kW3].shape, values);
    const Difference d = only(world, dump);
    EXPECT_EQ(d.kind, Kind::wrong_expert);
    EXPECT_THAT(d.also, ElementsAre(Kind::rounded));
    EXPECT_EQ(d.dtype_path, "BF16>F8_E4M3>BF16");
    EXPECT_EQ(d.found_rank, Rank{2});
}

TEST(Kinds, FewerRowsOrColumnsAreTruncated) {
    const World world = infer();
    const auto check = [&](const std::string& name, const std::vector<IndexRuns>& index, const Coordinates& first,
                           std::int64_t count) {
        WholeDump dump = world.dump();
        dump[1][name] = world.shard(world.idx(name), index);
        const Difference d = only(world, dump);
        EXPECT_EQ(d.kind, Kind::truncated) << name << d.found;
        EXPECT_THAT(d.also, IsEmpty());
        EXPECT_EQ(d.first, first) << d.found;
        EXPECT_EQ(d.count, count) << d.found;
    };
    check(kWq, {{{12, 20}}, {{0, 16}}}, {20, 0}, 4 * 16);             // the last rows
    check(kWq, {{{14, 24}}, {{0, 16}}}, {12, 0}, 2 * 16);             // the first ones
    check(kWq, {{{12, 24}}, {{0, 13}}}, {12, 13}, 12 * 3);            // the last columns
    check(kW1, {{{2, 3}}, {{0, 12}}, {{0, 16}}}, {3, 0, 0}, 12 * 16);  // an expert
    check(kW1, {{{2, 4}}, {{0, 9}}, {{0, 16}}}, {2, 9, 0}, 2 * 3 * 16);
    check("norm.weight", {{{0, 10}}}, {10}, 6);
    check(kW1, {{}, {{0, 12}}, {{0, 16}}}, {2, 0, 0}, 2 * 12 * 16);  // an empty slice
}

TEST(Kinds, MissingAndUnexpectedAreNamed) {
    const World world = infer();
    WholeDump dump = world.dump();
    dump[2].erase(kWo);
    dump[2].emplace("layers.0.attention.wo.bias", testing::tensor_of(DType::BF16, {16}, std::vector<float>(16, 1.0F)));
    const Report report = world.report(dump);
    ASSERT_EQ(report.differences.size(), 2U);
    EXPECT_EQ(report.differences[0].kind, Kind::missing);
    EXPECT_EQ(report.differences[0].param, kWo);
    EXPECT_EQ(report.differences[0].count, 16 * 12);
    EXPECT_EQ(report.differences[0].first, (Coordinates{0, 0}));
    EXPECT_EQ(report.differences[1].kind, Kind::unexpected);
    EXPECT_EQ(report.differences[1].param, "layers.0.attention.wo.bias");
}

TEST(Kinds, AFewWrongElementsAreCorrupt) {
    const World world = infer();
    WholeDump dump = world.dump();
    dump[1][kW2].bytes[2 * (16 * 12 + 5)] ^= std::byte{4};
    dump[1][kW2].bytes[2 * (16 * 12 + 90)] ^= std::byte{4};
    const Difference d = only(world, dump);
    EXPECT_EQ(d.kind, Kind::corrupt);
    EXPECT_EQ(d.count, 2);
    EXPECT_EQ(d.first, (Coordinates{3, 0, 5}));
    EXPECT_EQ(d.found, "elements differ in 2 of 32 lines");
    EXPECT_THAT(d.found_experts, ElementsAre(2, 3));
}

TEST(Kinds, AnotherCheckpointsValuesAreSaidToBeNowhere) {
    const World world = infer();
    WholeDump dump = world.dump();
    const auto others = testing::numbers_for(shardproof::testing::parameters_of(sizes()), DType::BF16, 77);
    dump[1][kWq].bytes.assign(others.at("model.layers.0.self_attn.q_proj.weight").bytes.begin(),
                              others.at("model.layers.0.self_attn.q_proj.weight").bytes.begin() + 12 * 16 * 2);
    const Difference d = only(world, dump);
    EXPECT_EQ(d.kind, Kind::corrupt);
    EXPECT_EQ(d.found, "values that are not in this checkpoint");
}

TEST(Kinds, AnotherLayersValuesAreNamedSo) {
    const World world = infer();
    WholeDump dump = world.dump();
    dump[1][kWq] = world.shard("layers.1.attention.wq.weight", 1);
    const Difference d = only(world, dump);
    EXPECT_EQ(d.kind, Kind::corrupt);
    EXPECT_EQ(d.found, "layers.1.attention.wq.weight, rows 12..23");
}

TEST(Kinds, RightValuesInAnotherShapeAreADifference) {
    const World world = infer();
    WholeDump dump = world.dump();
    dump[1][kW1].shape = {24, 16};
    const Difference d = only(world, dump);
    EXPECT_EQ(d.kind, Kind::corrupt);
    EXPECT_EQ(d.count, 0);
    EXPECT_EQ(d.found, "shape [24,16] instead of [2,12,16]");
}

TEST(Kinds, RowsBeyondThePlannedOnesArePadding) {
    const World world = infer();
    WholeDump dump = world.dump();
    dump[1][kWq].shape[0] = 14;
    dump[1][kWq].bytes.resize(std::size_t{14 * 16 * 2});
    const Difference d = only(world, dump);
    EXPECT_EQ(d.kind, Kind::not_loaded);
    EXPECT_EQ(d.found, "2 lines of zeros after the planned ones: padding kept as data");
    EXPECT_EQ(d.count, 32);
}

TEST(Kinds, SeveralInOneParameterAreAllSaid) {
    const World world = infer();
    WholeDump dump = world.dump();
    Tensor& w1 = dump[3][kW1];
    w1 = world.shard(world.idx(kW1), {{{0, 1}, {7, 8}}, {{0, 12}}, {{0, 16}}});
    fill(w1, 12 * 16, 3 * 16, 0.0F);                // three rows of expert 7
    w1.bytes[2 * (12 * 16 + 5 * 16)] ^= std::byte{8};  // an element of its sixth
    const Difference d = only(world, dump);
    EXPECT_EQ(d.kind, Kind::wrong_expert);
    EXPECT_THAT(d.also, ElementsAre(Kind::not_loaded, Kind::corrupt));
    EXPECT_THAT(d.found_experts, ElementsAre(0, 7));
    EXPECT_EQ(d.first, (Coordinates{6, 0, 0}));
}

TEST(Kinds, SeveralInOneDumpAreEachNamed) {
    const World world = infer();
    WholeDump dump = world.dump();
    dump[3][kW1] = world.shard(kW1, 2);
    fill(dump[0][kWq], 0, 12 * 16, 0.0F);
    dump[1].erase(kW3);
    dump[2][kWo] = testing::turned(dump[2][kWo]);
    dump[2][kW2].bytes[0] ^= std::byte{1};
    dump[0]["norm.weight"] = testing::tensor_of(DType::BF16, {8}, {1, 2, 3, 4, 5, 6, 7, 8});
    std::vector<std::pair<std::int64_t, Kind>> kinds;
    for (const Difference& d : world.report(dump).differences) kinds.emplace_back(d.rank.value(), d.kind);
    EXPECT_THAT(kinds, ElementsAre(std::pair{0, Kind::not_loaded}, std::pair{0, Kind::corrupt},
                                   std::pair{1, Kind::missing}, std::pair{2, Kind::transposed},
                                   std::pair{2, Kind::corrupt}, std::pair{3, Kind::wrong_expert}));
}

}  // namespace
}  // namespace shardproof::verify
