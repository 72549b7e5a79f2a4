// No false alarm: what is right passes in every rule set, layout, naming and dtype.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/verify/test_dumps.hpp"

namespace shardproof::verify {
namespace {

using ::testing::HasSubstr;
using testing::RankDump;
using testing::WholeDump;
using testing::World;

std::string text_of(const Report& report) {
    std::string text = report.cause.value_or("no cause");
    for (const Difference& difference : report.differences)
        text += "\n  rank " + std::to_string(difference.rank.value()) + " " + difference.param + " " +
                std::string{name_of(difference.kind)} + ": " + difference.found;
    return text;
}

struct Naming {
    const char* name;
    const char* table;
    RankDump (*rename)(const RankDump&, const World&, std::int64_t);
};
RankDump ours(const RankDump& dump, const World&, std::int64_t) { return dump; }
RankDump titan(const RankDump& dump, const World&, std::int64_t) { return testing::under_titan_names(dump); }
RankDump hf(const RankDump& dump, const World& world, std::int64_t rank) {
    return testing::under_hf_names(dump, world, rank);
}
RankDump stacked(const RankDump& dump, const World& world, std::int64_t rank) {
    return testing::with_stacked_experts(dump, hf(dump, world, rank), false);
}
RankDump stacked_turned(const RankDump& dump, const World& world, std::int64_t rank) {
    return testing::with_stacked_experts(dump, hf(dump, world, rank), true);
}
RankDump vllm(const RankDump& dump, const World& world, std::int64_t rank) {
    return testing::under_vllm_names(dump, hf(dump, world, rank));
}
RankDump wrapped(const RankDump& dump, const World&, std::int64_t) {
    RankDump theirs;
    for (const auto& [name, tensor] : testing::under_titan_names(dump))
        theirs.emplace("module._orig_mod." + testing::replaced(name, "moe.", "moe._checkpoint_wrapped_module."),
                       tensor);
    return theirs;
}
constexpr std::array kNamings{Naming{"ours", "titan", ours},
                              Naming{"titan", "titan", titan},
                              Naming{"hf", "hf", hf},
                              Naming{"hf stacked", "hf", stacked},
                              Naming{"hf stacked and turned", "hf", stacked_turned},
                              Naming{"vllm", "vllm", vllm},
                              Naming{"wrapped titan", "titan", wrapped}};

struct Case {
    const char* rules;
    testing::Degrees dims;
};
const std::vector<Case>& cases() {
    static const std::vector<Case> kCases{
        {"titan-infer", {}},
        {"titan-infer", {.tp = 2}},
        {"titan-infer", {.dp_shard = 2, .tp = 2, .ep = 4}},
        {"titan-train", {.dp_shard = 4, .tp = 2, .ep = 4}},
        {"titan-train", {.dp_replicate = 2, .dp_shard = 2, .tp = 2}},
        {"titan-train", {.dp_shard = 4, .tp = 1, .ep = 2}},
        {"titan-train", {.dp_shard = 16, .tp = 1, .ep = 4}},
        {"titan-infer-fsdp", {.dp_replicate = 2, .dp_shard = 2, .tp = 2, .ep = 2}},
        {"titan-infer-fsdp", {.dp_shard = 3, .tp = 2, .ep = 3}},
        {"vllm", {.dp_shard = 2, .tp = 4, .ep = 8}},
        {"vllm", {.dp_shard = 1, .tp = 4}},
        {"vllm", {.dp_shard = 3, .tp = 1, .ep = 3}},
        {"megatron", {.dp_shard = 2, .tp = 2, .ep = 2}},
    };
    return kCases;
}
testing::Sizes sizes() {
    testing::Sizes s;
    s.layers = 2;
    s.dense_hidden = 20;
    s.vocab = 41;
    return s;
}

TEST(CleanDumps, PassInEveryRuleSetLayoutAndNaming) {
    for (const Case& c : cases()) {
        const World world(sizes(), c.dims, c.rules);
        const WholeDump dump = world.dump();
        for (const Naming& naming : kNamings) {
            WholeDump theirs;
            for (std::size_t r = 0; r < dump.size(); ++r)
                theirs.push_back(naming.rename(dump[r], world, static_cast<std::int64_t>(r)));
            const Report report = world.report(theirs);
            EXPECT_TRUE(report.differences.empty())
                << c.rules << " world " << dump.size() << " " << naming.name << ": " << text_of(report);
            EXPECT_EQ(report.names, naming.table) << c.rules << " " << naming.name;
        }
    }
}

TEST(CleanDumps, PassInEveryDtypeThatHoldsTheValues) {
    for (const DType checkpoint : {DType::BF16, DType::F16, DType::F32}) {
        const World world(sizes(), {.dp_shard = 2, .tp = 2, .ep = 4}, "titan-train", checkpoint);
        const WholeDump dump = world.dump();
        for (const DType dtype : {DType::BF16, DType::F16, DType::F32, DType::F64}) {
            WholeDump theirs = dump;
            for (RankDump& rank : theirs) {
                for (auto& [name, tensor] : rank) tensor = testing::as_dtype(tensor, dtype);
            }
            const Report report = world.report(theirs);
            EXPECT_TRUE(report.differences.empty())
                << name_of(checkpoint) << " as " << name_of(dtype) << ": " << text_of(report);
        }
    }
}

TEST(CleanDumps, PassWithFusedWeightsOfTitanOverrides) {
    const World world(sizes(), {.dp_shard = 2, .tp = 2, .ep = 4});
    WholeDump theirs;
    for (const RankDump& rank : world.dump()) {
        RankDump fused = testing::under_titan_names(rank);
        for (const auto& [name, tensor] : rank) {
            if (name.ends_with("moe.experts.w1")) {
                const std::string stem = testing::replaced(name, "moe.experts.w1", "moe.routed_experts.inner_experts.");
                const Tensor& up = rank.at(testing::replaced(name, "w1", "w3"));
                Tensor both{tensor.dtype, {tensor.shape[0], tensor.shape[1], 2, tensor.shape[2]}, {}};
                const auto row = static_cast<std::ptrdiff_t>(tensor.shape[2]) * 2;
                for (std::ptrdiff_t at = 0; at < std::ssize(tensor.bytes); at += row) {
                    for (const Tensor* half : {&tensor, &up})
                        both.bytes.insert(both.bytes.end(), half->bytes.begin() + at, half->bytes.begin() + at + row);
                }
                fused.erase(stem + "w1_EFD");
                fused.erase(stem + "w3_EFD");
                fused.emplace(stem + "w13", both);
            } else if (name.ends_with("attention.wq.weight")) {
                // One kv head a rank here, of six rows, and two query heads.
                const std::string stem = testing::replaced(name, "attention.wq.weight", "attention.qkv_linear.");
                const auto of = [&](const char* w) { return rank.at(testing::replaced(name, "wq", w)); };
                for (const char* const w : {"wq", "wk", "wv"}) fused.erase(stem + w + ".weight");
                fused.emplace(stem + "wqkv.weight", testing::rows_joined({tensor, of("wk"), of("wv")}));
            }
        }
        theirs.push_back(fused);
    }
    const Report report = world.report(theirs);
    EXPECT_TRUE(report.differences.empty()) << text_of(report);
}

TEST(CleanDumps, MayLeaveOutEmptyShardsAndHaveBuffersBesides) {
    testing::Sizes s = sizes();
    s.experts = 5;
    const World world(s, {.dp_shard = 4, .tp = 1, .ep = 4});  // ceil(5/4) each: the last rank has none
    WholeDump dump = world.dump();
    for (const char* const w : {"w1", "w2", "w3"}) dump[3].erase(std::string{"layers.1.moe.experts."} + w);
    dump[0].emplace("layers.1.moe.tokens_per_expert_E", testing::tensor_of(DType::F32, {5}, {1, 2, 3, 4, 5}));
    dump[1].emplace("model.rotary_emb.inv_freq", testing::tensor_of(DType::F32, {1}, {1}));
    const Report report = world.report(dump);
    EXPECT_TRUE(report.differences.empty()) << text_of(report);
}

TEST(CleanDumps, OfTiedModelsMayHaveTheHeadBesides) {
    testing::Sizes s = sizes();
    s.tied = true;
    const World world(s, {.tp = 2});
    WholeDump dump = world.dump();
    for (RankDump& rank : dump) rank.emplace("lm_head.weight", rank.at("tok_embeddings.weight"));
    EXPECT_TRUE(world.report(dump).differences.empty());
    dump[1].at("lm_head.weight").bytes[5] ^= std::byte{1};
    const Report report = world.report(dump);
    ASSERT_EQ(report.differences.size(), 1U);
    EXPECT_EQ(report.differences[0].kind, Kind::unexpected);
    EXPECT_EQ(report.differences[0].param, "lm_head.weight");
}

TEST(CleanDumps, StorePaddingOfTheVocabularyWhereTheirRulesDo) {
    const World world(sizes(), {.tp = 4}, "vllm");  // 41 rows as 64: 16 a rank, the last one's 0
    WholeDump dump = world.dump();
    for (RankDump& rank : dump) {
        for (const char* const name : {"tok_embeddings.weight", "lm_head.weight"}) {
            Tensor& tensor = rank.at(name);
            tensor.shape[0] = 16;
            tensor.bytes.resize(std::size_t{16 * 16 * 2});
        }
    }
    const Report report = world.report(dump);
    EXPECT_TRUE(report.differences.empty()) << text_of(report);
    ASSERT_EQ(report.notes.size(), 1U);
    EXPECT_THAT(report.notes[0], HasSubstr("4 shards of the vocabulary end in padding"));
}

TEST(CleanDumps, OfWholeModelsPassAgainstTheirFirstLayers) {
    testing::Sizes s = sizes();
    const World whole(s, {.tp = 2});
    s.layers = 1;
    const World first(s, {.tp = 2});
    WholeDump dump = first.dump();
    const WholeDump all = whole.dump();
    for (std::size_t r = 0; r < dump.size(); ++r) {
        for (const auto& [name, tensor] : all[r]) {
            if (name.starts_with("layers.1.")) dump[r].emplace(name, tensor);
        }
    }
    EXPECT_TRUE(first.report(dump, nullptr, true).differences.empty());
    EXPECT_FALSE(first.report(dump, nullptr, false).differences.empty());
}

}  // namespace
}  // namespace shardproof::verify
