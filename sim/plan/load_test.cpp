// load() against parameters assembled element by element from the definition of Source, never through a LoadPlan.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstring>

#include "oracle/model/error.hpp"
#include "sim/plan/load_plan.hpp"
#include "sim/plan/test_tensors.hpp"

namespace shardproof {
namespace {

using testing::Bytes;
using testing::checkpoint_of;
using testing::expected_shard;
using testing::file_of;
using testing::loaded;
using testing::Tensors;
using testing::tensors_of;

struct RandomCase {
    Plan plan;
    Tensors tensors;
};

RandomCase random_case() {
    const auto pick = [](std::int64_t low, std::int64_t high) { return *rc::gen::inRange<std::int64_t>(low, high); };
    const DType dtype = *rc::gen::element(DType::BF16, DType::F16, DType::F32);
    const bool train = *rc::gen::arbitrary<bool>();
    const std::int64_t tp = pick(1, 4);
    RawDims raw{.dp_shard = pick(1, 5), .tp = tp, .world = {}};
    if (train) raw.dp_replicate = pick(1, 3);
    const std::int64_t inner = raw.dp_shard * tp;
    raw.ep = *rc::gen::element<std::int64_t>(1, inner);
    const testing::Sizes sizes{.experts = inner + pick(0, 6),
                               .hidden = pick(1, 12),
                               .heads = 2 * tp,
                               .kv_heads = tp,
                               .head_dim = 2 * pick(1, 4),
                               .expert_hidden = pick(1, 9),
                               .vocab = pick(1, 30),
                               .expert_bias = true};
    // Shard(1) experts, an uneven one of which is refused, come with sizes that 8 shards divide.
    const bool shard_dim_one = *rc::gen::arbitrary<bool>();
    testing::Sizes chosen = sizes;
    if (train && shard_dim_one) {
        chosen.experts = std::max<std::int64_t>(1, raw.ep);
        chosen.hidden = raw.dp_shard * tp * pick(1, 3);
        chosen.expert_hidden = raw.dp_shard * tp * pick(1, 3);
    }
    if (train && raw.ep == 1 && raw.dp_replicate * raw.dp_shard > chosen.experts && !shard_dim_one) {
        chosen.experts = raw.dp_replicate * raw.dp_shard;
    }
    std::vector<Parameter> parameters = testing::parameters_of(chosen);
    const auto form = *rc::gen::element<int>(0, 1, 2);  // how the checkpoint stores the experts
    std::vector<Parameter> others;
    if (form == 1) others = testing::fused_experts(chosen.experts, chosen.expert_hidden, chosen.hidden);
    if (form == 2) others = testing::halved_experts(chosen.experts, chosen.expert_hidden, chosen.hidden);
    for (Parameter& parameter : parameters) {
        for (const Parameter& other : others) {
            if (parameter.name == other.name) parameter = other;
        }
    }
    Tensors tensors = tensors_of(parameters, dtype);
    const std::vector<DType> dtypes(parameters.size(), dtype);
    return {make_plan(testing::config_of(chosen), std::move(parameters), dtypes, ParallelDims::parse(raw),
                      rule_set_named(train ? "titan-train" : "titan-infer")),
            std::move(tensors)};
}

RC_GTEST_PROP(Load, EveryRankGetsExactlyItsElements, ()) {
    const RandomCase c = random_case();
    const Checkpoint checkpoint = checkpoint_of(file_of(c.tensors));
    for (std::size_t i = 0; i < c.plan.params.size(); ++i) {
        const ParamPlan& param = c.plan.params[i];
        for (std::int64_t r = 0; r < c.plan.world(); ++r) {
            const LoadPlan plan = make_load_plan(c.plan, i, Rank{r});
            RC_ASSERT(plan.bytes_read() == plan.shard_bytes());  // with no poison left: each byte written once
            const Bytes expected =
                expected_shard(param.parameter, c.tensors, param.dtype, shard_of(c.plan, i, Rank{r}));
            RC_ASSERT(loaded(plan, checkpoint, std::byte{0xA5}) == expected);
            RC_ASSERT(loaded(plan, checkpoint, std::byte{0x5A}) == expected);
        }
    }
}

RC_GTEST_PROP(Load, BytesOutsideThePlansRangesDoNotMatter, ()) {
    const RandomCase c = random_case();
    const Bytes file = file_of(c.tensors);
    const Checkpoint checkpoint = checkpoint_of(file);
    const std::int64_t rank = *rc::gen::inRange<std::int64_t>(0, c.plan.world());
    for (std::size_t i = 0; i < c.plan.params.size(); ++i) {
        const LoadPlan plan = make_load_plan(c.plan, i, Rank{rank});
        Bytes blank = file;
        for (const auto& [name, item] : checkpoint.items()) {
            std::fill(blank.begin() + static_cast<std::ptrdiff_t>(item.entry->begin),
                      blank.begin() + static_cast<std::ptrdiff_t>(item.entry->end), std::byte{0xFF});
        }
        std::int64_t num_planned = 0;
        for (const ByteRange& range : byte_ranges(plan)) {
            const std::size_t begin = checkpoint.items().at(range.tensor).entry->begin;
            std::memcpy(blank.data() + begin + range.begin, file.data() + begin + range.begin,
                        static_cast<std::size_t>(range.end - range.begin));
            num_planned += range.end - range.begin;
        }
        RC_ASSERT(num_planned == plan.bytes_read());
        RC_ASSERT(loaded(plan, checkpoint_of(blank)) == loaded(plan, checkpoint));
    }
}

RC_GTEST_PROP(Store, ShardsOfAllRanksGiveTheCheckpointBack, ()) {
    const RandomCase c = random_case();
    const Checkpoint checkpoint = checkpoint_of(file_of(c.tensors));
    Tensors merged = c.tensors;
    for (auto& [name, tensor] : merged) std::fill(tensor.bytes.begin(), tensor.bytes.end(), std::byte{0});
    for (std::size_t i = 0; i < c.plan.params.size(); ++i) {
        for (std::int64_t r = 0; r < c.plan.world(); ++r) {
            const LoadPlan plan = make_load_plan(c.plan, i, Rank{r});
            std::vector<std::span<std::byte>> tensors;
            for (const std::string& name : plan.tensors) tensors.emplace_back(merged.at(name).bytes);
            RC_ASSERT(store(plan, loaded(plan, checkpoint), tensors) == plan.shard_bytes());
        }
    }
    for (const auto& [name, tensor] : merged) RC_ASSERT(tensor.bytes == c.tensors.at(name).bytes);
}

TEST(Load, ATransposedFusedTensorGivesGateAndUpInTheirPlaces) {
    const std::vector<Parameter> parameters = testing::fused_experts(2, 3, 5);
    Tensors tensors = tensors_of(parameters, DType::F32);
    // gate_up[e][d][j] = 100 e + 10 d + j: gate is j 0..2, up is j 3..5.
    std::vector<float> values;
    for (int e = 0; e < 2; ++e) {
        for (int d = 0; d < 5; ++d) {
            for (int j = 0; j < 6; ++j) values.push_back(static_cast<float>(100 * e + 10 * d + j));
        }
    }
    std::memcpy(tensors.at("gate_up").bytes.data(), values.data(), values.size() * sizeof(float));
    const Checkpoint checkpoint = checkpoint_of(file_of(tensors));
    const std::vector<IndexRuns> index{{{1, 2}}, {{1, 3}}, {{2, 4}}};  // expert 1, rows 1 and 2, columns 2 and 3
    const auto floats = [&](const Parameter& parameter) {
        const Bytes bytes = loaded(make_load_plan(parameter, DType::F32, index), checkpoint);
        std::vector<float> result(bytes.size() / sizeof(float));
        std::memcpy(result.data(), bytes.data(), bytes.size());
        return result;
    };
    EXPECT_THAT(floats(parameters[0]), ::testing::ElementsAre(121.F, 131.F, 122.F, 132.F));
    EXPECT_THAT(floats(parameters[1]), ::testing::ElementsAre(124.F, 134.F, 125.F, 135.F));
}

// Larger than a block of the transposing copy, and no multiple of it.
TEST(Load, TransposesOfAnySizeAreExact) {
    for (const DType dtype : {DType::BF16, DType::F32, DType::F64}) {
        const Source source{"t", {150, 99}, {{0, 99}, {0, 150}}, {0, 0}, {1, 0}, {}};
        const Parameter parameter{"w", Role::wq, 0, {99, 150}, {source}};
        const Tensors tensors = tensors_of({parameter}, dtype);
        const Checkpoint checkpoint = checkpoint_of(file_of(tensors));
        for (const std::vector<IndexRuns>& index :
             {std::vector<IndexRuns>{{{0, 99}}, {{0, 150}}}, {{{3, 80}}, {{0, 1}, {7, 150}}}, {{{5, 6}}, {{2, 140}}}}) {
            EXPECT_EQ(loaded(make_load_plan(parameter, dtype, index), checkpoint),
                      expected_shard(parameter, tensors, dtype, index));
        }
    }
}

// Half the rows of each expert in one tensor, columns of both: what continues in the tensor need not in the shard.
TEST(Load, ColumnsOfExpertsStoredInHalvesAreExact) {
    const Parameter parameter = testing::halved_experts(3, 5, 7)[0];
    const Tensors tensors = tensors_of({parameter}, DType::BF16);
    const std::vector<IndexRuns> index{{{0, 3}}, {{0, 5}}, {{2, 6}}};
    EXPECT_EQ(loaded(make_load_plan(parameter, DType::BF16, index), checkpoint_of(file_of(tensors))),
              expected_shard(parameter, tensors, DType::BF16, index));
}

TEST(Load, AnOwnerListIsLoadedInItsOwnOrder) {
    const Parameter parameter{"w", Role::expert_w1, 0, {4, 1, 2}, testing::stacked_sources("e", ".w", {4, 1, 2})};
    const Tensors tensors = tensors_of({parameter}, DType::BF16);
    const Mesh mesh = Mesh::row_major("sparse", {{Axis::ep, 2}});
    const Layout layout{&mesh, {Owners{0, {{{3, 4}, {0, 1}}, {{1, 3}}}}}};
    for (std::int64_t r = 0; r < 2; ++r) {
        const std::vector<IndexRuns> index = shard_index(layout, parameter.shape, Rank{r});
        const LoadPlan plan = make_load_plan(parameter, DType::BF16, index);
        EXPECT_EQ(loaded(plan, checkpoint_of(file_of(tensors))),
                  expected_shard(parameter, tensors, DType::BF16, index));
        if (r == 0) {
            EXPECT_THAT(plan.tensors, ::testing::UnorderedElementsAre("e0.w", "e3.w"));
            EXPECT_EQ(plan.tensors.at(plan.copies.front().tensor_idx), "e3.w");  // copies ascend in the target
        }
    }
}

TEST(Load, ATargetOfAnotherSizeIsABug) {
    const Parameter dense{"wq", Role::wq, 0, {4, 2}, {testing::whole_source("q", {4, 2})}};
    const Checkpoint checkpoint = checkpoint_of(file_of(tensors_of({dense}, DType::F32)));
    Bytes target(31);
    EXPECT_THROW((void)load(make_load_plan(dense, DType::F32, {{{0, 4}}, {{0, 2}}}), checkpoint, target), BugError);
}

TEST(Load, APlanThatReachesBeyondItsTensorIsABug) {
    const Parameter dense{"wq", Role::wq, 0, {4, 2}, {testing::whole_source("q", {4, 2})}};
    const Checkpoint checkpoint = checkpoint_of(file_of(tensors_of({dense}, DType::F32)));
    LoadPlan plan = make_load_plan(dense, DType::F32, {{{0, 2}}, {{0, 2}}});
    plan.copies[0].source_begin += 20;
    Bytes target(16);
    EXPECT_THROW((void)load(plan, checkpoint, target), BugError);
}

}  // namespace
}  // namespace shardproof
