// Wrong rules planted in whole dumps: each is recognised, and only it.
#include "sim/verify/causes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "sim/verify/test_dumps.hpp"

namespace shardproof::verify {
namespace {

using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::Optional;
using testing::RankDump;
using testing::WholeDump;
using testing::World;
using Index = std::vector<IndexRuns>;

testing::Sizes sizes() {
    testing::Sizes s;
    s.layers = 2;
    s.dense_hidden = 20;
    return s;
}

std::optional<std::string> cause_of(const World& world, const WholeDump& dump) { return world.report(dump).cause; }

bool is_expert(const World& world, std::size_t p) { return is_routed_expert(world.plan->params[p].parameter.role); }

// Experts by `runs_of(ep rank)`, the rest as planned.
WholeDump dealt(const World& world, const std::function<IndexRuns(std::int64_t)>& runs_of) {
    return world.dump_by([&](std::size_t p, Rank rank) -> std::optional<Index> {
        if (!is_expert(world, p)) return std::nullopt;
        Index index = shard_of(*world.plan, p, rank);
        index[0] = runs_of(world.plan->meshes.sparse.coordinate(rank, Axis::ep));
        return index;
    });
}

TEST(Causes, NoneForACleanDumpNorForOneStrayFault) {
    const World world(sizes(), {.dp_shard = 2, .tp = 2, .ep = 4});
    EXPECT_EQ(cause_of(world, world.dump()), std::nullopt);
    WholeDump dump = world.dump();
    dump[1]["layers.0.attention.wq.weight"].bytes[3] ^= std::byte{1};
    EXPECT_EQ(cause_of(world, dump), std::nullopt);
}

TEST(Causes, EpOutermost) {
    const World world(sizes(), {.dp_shard = 4, .tp = 2, .ep = 4}, "titan-train");
    const WholeDump dump = world.dump_by([&](std::size_t p, Rank rank) -> std::optional<Index> {
        if (!is_expert(world, p)) return std::nullopt;
        // Rank r is (efsdp r / 4, ep r % 4); taken for (ep r / 2, efsdp r % 2).
        const std::int64_t ep = rank.value() / 2;
        const std::int64_t efsdp = rank.value() % 2;
        return shard_of(*world.plan, p, Rank{efsdp * 4 + ep});
    });
    EXPECT_THAT(cause_of(world, dump), Optional(HasSubstr("groups look like ep-outermost")));
}

TEST(Causes, TpOutermost) {
    const World world(sizes(), {.dp_shard = 4, .tp = 2}, "titan-infer");
    const WholeDump dump = world.dump_by([&](std::size_t p, Rank rank) -> std::optional<Index> {
        return shard_of(*world.plan, p, Rank{rank.value() % 4 * 2 + rank.value() / 4});
    });
    EXPECT_THAT(cause_of(world, dump), Optional(HasSubstr("groups look like tp-outermost")));
}

testing::Sizes ten_experts() {
    testing::Sizes s = sizes();
    s.experts = 10;
    return s;
}

TEST(Causes, RemainderOnTheLastRank) {
    const World world(ten_experts(), {.dp_shard = 4, .ep = 4});  // planned 3, 3, 3, 1
    EXPECT_THAT(
        cause_of(world, dealt(world, [](std::int64_t ep) { return IndexRuns{{ep * 2, ep == 3 ? 10 : ep * 2 + 2}}; })),
        Optional(Eq("remainder experts are all on the last ep rank")));
}

TEST(Causes, OwnerByFloor) {
    const World world(ten_experts(), {.dp_shard = 4, .ep = 4});
    EXPECT_THAT(cause_of(world, dealt(world, [](std::int64_t ep) { return IndexRuns{{ep * 2, ep * 2 + 2}}; })),
                Optional(HasSubstr("e / floor(E/ep)")));
}

TEST(Causes, BalancedInsteadOfChunked) {
    const World world(ten_experts(), {.dp_shard = 4, .ep = 4});  // balanced: 3, 3, 2, 2
    const std::array<IndexRuns, 4> runs{IndexRuns{{0, 3}}, IndexRuns{{3, 6}}, IndexRuns{{6, 8}}, IndexRuns{{8, 10}}};
    EXPECT_THAT(cause_of(world, dealt(world, [&](std::int64_t ep) { return runs[static_cast<std::size_t>(ep)]; })),
                Optional(HasSubstr("balanced split")));
    const World vllm(ten_experts(), {.dp_shard = 4, .ep = 4}, "vllm");
    EXPECT_THAT(
        cause_of(
            vllm,
            dealt(vllm, [](std::int64_t ep) { return IndexRuns{{ep * 3, std::min<std::int64_t>(10, ep * 3 + 3)}}; })),
        Optional(HasSubstr("torch.chunk")));
}

TEST(Causes, RoundRobin) {
    const World world(sizes(), {.dp_shard = 4, .ep = 4});
    EXPECT_THAT(
        cause_of(world, dealt(world, [](std::int64_t ep) { return IndexRuns{{ep, ep + 1}, {ep + 4, ep + 5}}; })),
        Optional(Eq("experts are dealt round-robin")));
}

TEST(Causes, EveryRankTheFirstExperts) {
    const World world(sizes(), {.dp_shard = 2, .tp = 2, .ep = 4});
    EXPECT_THAT(cause_of(world, dealt(world, [](std::int64_t) { return IndexRuns{{0, 2}}; })),
                Optional(Eq("every ep rank loaded the first E/ep experts")));
}

TEST(Causes, ExpertsByTheTensorParallelRank) {
    const World world(sizes(), {.dp_shard = 2, .tp = 2, .ep = 4});
    const WholeDump dump = world.dump_by([&](std::size_t p, Rank rank) -> std::optional<Index> {
        if (!is_expert(world, p)) return std::nullopt;
        Index index = shard_of(*world.plan, p, rank);
        index[0] = {{rank.value() % 2 * 2, rank.value() % 2 * 2 + 2}};
        return index;
    });
    EXPECT_THAT(cause_of(world, dump), Optional(HasSubstr("dealt by the tensor-parallel rank")));
}

// Rows [begin, begin + count) of two tensors one after the other, of each leading index.
Tensor rows_of_fused(const World& world, const std::vector<std::string>& names, Index index, std::int64_t begin,
                     std::int64_t count) {
    std::vector<Tensor> parts;
    const std::size_t dim = index.size() - 2;
    std::int64_t before = 0;
    for (const std::string& name : names) {
        const std::int64_t extent = world.plan->params[world.idx(name)].parameter.shape[dim];
        const std::int64_t from = std::clamp<std::int64_t>(begin - before, 0, extent);
        const std::int64_t to = std::clamp<std::int64_t>(begin + count - before, 0, extent);
        before += extent;
        if (from >= to) continue;
        index[dim] = {{from, to}};
        parts.push_back(world.shard(world.idx(name), index));
    }
    return testing::rows_joined(parts);
}

TEST(Causes, GateAndUpFusedAsOneBlock) {
    const World world(sizes(), {.tp = 2}, "titan-infer");  // experts are cut as well
    WholeDump dump = world.dump();
    for (std::int64_t rank = 0; rank < 2; ++rank) {
        RankDump& held = dump[static_cast<std::size_t>(rank)];
        for (const std::string stem : {"layers.0.feed_forward.", "layers.1.moe.experts."}) {
            const std::string end = stem.find("experts") == std::string::npos ? ".weight" : "";
            const std::vector<std::string> names{stem + "w1" + end, stem + "w3" + end};
            const std::size_t p = world.idx(names[0]);
            const Shape& shape = world.plan->params[p].parameter.shape;
            const std::int64_t rows = shape[shape.size() - 2];
            const Index index = shard_of(*world.plan, p, Rank{rank});
            held[names[0]] = rows_of_fused(world, names, index, rank * rows, rows / 2);
            held[names[1]] = rows_of_fused(world, names, index, rank * rows + rows / 2, rows / 2);
        }
    }
    EXPECT_THAT(cause_of(world, dump), Optional(Eq("gate and up fused as one block before the tensor-parallel split")));
}

TEST(Causes, QueriesKeysAndValuesFusedAsOneBlock) {
    const World world(sizes(), {.tp = 2}, "titan-infer");
    WholeDump dump = world.dump();
    for (std::int64_t rank = 0; rank < 2; ++rank) {
        for (const std::string stem : {"layers.0.attention.", "layers.1.attention."}) {
            const std::vector<std::string> names{stem + "wq.weight", stem + "wk.weight", stem + "wv.weight"};
            const Index index{{{0, 0}}, {{0, 16}}};
            std::int64_t at = rank * 24;  // of 24 + 12 + 12 rows
            for (const std::string& name : names) {
                Tensor& tensor = dump[static_cast<std::size_t>(rank)][name];
                const std::int64_t count = tensor.shape[0];
                tensor = rows_of_fused(world, names, index, at, count);
                at += count;
            }
        }
    }
    EXPECT_THAT(cause_of(world, dump), Optional(HasSubstr("q, k and v fused as one block")));
}

TEST(Causes, SwappedGateAndUp) {
    const World world(sizes(), {.dp_shard = 2, .tp = 2, .ep = 4});
    WholeDump dump = world.dump();
    for (RankDump& rank : dump) {
        std::swap(rank["layers.1.moe.experts.w1"], rank["layers.1.moe.experts.w3"]);
        std::swap(rank["layers.0.feed_forward.w1.weight"], rank["layers.0.feed_forward.w3.weight"]);
    }
    EXPECT_THAT(cause_of(world, dump), Optional(HasSubstr("gate and up are swapped")));
}

TEST(Causes, Transposed) {
    const World world(sizes(), {.dp_shard = 2, .tp = 2, .ep = 4});
    WholeDump dump = world.dump();
    for (RankDump& rank : dump) {
        Tensor& w3 = rank["layers.1.moe.experts.w3"];
        w3 = {w3.dtype, w3.shape, testing::turned(w3).bytes};
    }
    EXPECT_THAT(cause_of(world, dump), Optional(Eq("w3 is transposed once too often")));
}

TEST(Causes, KvHeadsByModulo) {
    const World world(sizes(), {.tp = 4}, "vllm");  // ranks 0 1 hold head 0, ranks 2 3 head 1
    const WholeDump dump = world.dump_by([&](std::size_t p, Rank rank) -> std::optional<Index> {
        const Role role = world.plan->params[p].parameter.role;
        if (role != Role::wk && role != Role::wv) return std::nullopt;
        const std::int64_t head = rank.value() % 2;
        return Index{{{head * 6, head * 6 + 6}}, {{0, 16}}};
    });
    EXPECT_THAT(cause_of(world, dump), Optional(HasSubstr("kv heads replicated by modulo")));
}

TEST(Causes, StridedShardsLeftToRight) {
    const World world(sizes(), {.dp_shard = 2, .tp = 2}, "titan-train");
    const WholeDump dump = world.dump_by([&](std::size_t p, Rank rank) -> std::optional<Index> {
        const ParamPlan& param = world.plan->params[p];
        bool strided = false;
        for (const Placement& placement : param.placement.placements)
            strided = strided || std::holds_alternative<StridedShard>(placement);
        if (!strided) return std::nullopt;
        // A quarter of the rows, rank r's the r-th.
        Index index = shard_of(*world.plan, p, rank);
        const std::int64_t quarter = param.parameter.shape[0] / 4;
        index[0] = {{rank.value() * quarter, (rank.value() + 1) * quarter}};
        return index;
    });
    EXPECT_THAT(cause_of(world, dump), Optional(HasSubstr("strided shards read left to right")));
}

TEST(Causes, PaddingKeptAsData) {
    testing::Sizes s = ten_experts();
    s.vocab = 41;
    const World world(s, {.dp_shard = 4}, "titan-train");  // 11 rows each, the last 8
    WholeDump dump = world.dump();
    for (const char* const name : {"tok_embeddings.weight", "lm_head.weight"}) {
        Tensor& tensor = dump[3][name];
        tensor.shape[0] = 11;
        tensor.bytes.resize(std::size_t{11 * 16 * 2});
    }
    EXPECT_THAT(cause_of(world, dump), Optional(HasSubstr("padding is kept as data")));
}

TEST(Causes, EmptySlices) {
    const World world(sizes(), {.dp_shard = 4, .ep = 4});
    EXPECT_THAT(cause_of(world, dealt(world, [](std::int64_t) { return IndexRuns{}; })),
                Optional(HasSubstr("slices are empty")));
}

TEST(Causes, KeysSkipped) {
    const World world(sizes(), {.dp_shard = 4, .ep = 4});
    WholeDump dump = world.dump();
    for (RankDump& rank : dump) {
        for (auto& [name, tensor] : rank) {
            if (name.find("experts") != std::string::npos) std::ranges::fill(tensor.bytes, std::byte{0});
        }
    }
    EXPECT_THAT(cause_of(world, dump), Optional(HasSubstr("expert keys match no parameter and are skipped")));
}

TEST(Causes, AnEarlierLoad) {
    const World world(sizes(), {.tp = 2});
    const World other(shardproof::testing::config_of(sizes()), shardproof::testing::parameters_of(sizes()), {.tp = 2},
                      "titan-infer", DType::BF16,
                      testing::numbers_for(shardproof::testing::parameters_of(sizes()), DType::BF16, 9));
    EXPECT_THAT(cause_of(world, other.dump()), Optional(HasSubstr("not in this checkpoint")));
}

TEST(Causes, LayersAndRanksOffByOne) {
    testing::Sizes s = sizes();
    s.layers = 4;
    s.dense_hidden = 0;
    const World world(s, {.tp = 2});
    WholeDump dump = world.dump();
    for (RankDump& rank : dump) {
        const RankDump right = rank;
        for (auto& [name, tensor] : rank) {
            for (int layer = 0; layer < 3; ++layer) {
                const std::string own = "layers." + std::to_string(layer) + ".";
                if (name.starts_with(own))
                    tensor = right.at(testing::replaced(name, own, "layers." + std::to_string(layer + 1) + "."));
            }
        }
    }
    EXPECT_THAT(cause_of(world, dump), Optional(HasSubstr("layers are counted from one too few")));

    dump = world.dump();
    std::swap(dump[0], dump[1]);
    EXPECT_THAT(cause_of(world, dump), Optional(HasSubstr("ranks are numbered in reverse")));
}

TEST(Causes, Rounded) {
    const World world(sizes(), {.tp = 2});
    WholeDump dump = world.dump();
    for (RankDump& rank : dump) {
        for (auto& [name, tensor] : rank) {
            std::vector<float> values = testing::floats_of(tensor);
            for (float& value : values) {
                const float step = std::ldexp(1.0F, std::max(std::ilogb(value), -14) - 2);
                value = std::nearbyint(value / step) * step;
            }
            tensor = testing::tensor_of(DType::BF16, tensor.shape, values);
        }
    }
    EXPECT_THAT(cause_of(world, dump), Optional(HasSubstr("narrower dtype: BF16>F8_E5M2>BF16")));
}

}  // namespace
}  // namespace shardproof::verify
