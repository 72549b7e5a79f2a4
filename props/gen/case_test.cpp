#include "props/gen/case.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "oracle/model/error.hpp"
#include "props/gen/draw_case.hpp"

namespace shardproof::props {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(CaseLine, ComesBackAsTheSameCase) {
    sim::Prng prng{1};
    for (int i = 0; i < 2000; ++i) {
        const Case c = draw_case(prng);
        const std::string line = print_case(c);
        ASSERT_EQ(parse_case(line), c) << line;
        ASSERT_EQ(line.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_=,:.+-"),
                  std::string::npos)
            << "a shell may take this apart: " << line;
    }
}

TEST(CaseLine, LeavesOutWhatTheSmallestCaseHas) {
    EXPECT_EQ(print_case(Case{}), "rules=titan-train");
    Case c;
    c.layout.dp_shard = 2;
    c.layout.ep = 2;
    c.model.experts = 4;
    c.sequences = {{0, 3}, {1, 0}};
    EXPECT_EQ(print_case(c), "rules=titan-train,dp_shard=2,ep=2,experts=4,seqs=0:3+1:0");
}

TEST(CaseLine, TakesWhiteSpaceForCommas) {
    EXPECT_EQ(parse_case("  rules=titan-infer tp=2\tkv_heads=2 \n heads=2,vocab=3"),
              parse_case("rules=titan-infer,tp=2,kv_heads=2,heads=2,vocab=3"));
}

struct BadLine {
    const char* line;
    const char* field;
    const char* rule;
};
class CaseLineRejects : public ::testing::TestWithParam<BadLine> {};
TEST_P(CaseLineRejects, ByKeyAndRule) {
    EXPECT_THAT([] { (void)parse_case(GetParam().line); },
                ThrowsMessage<InputError>(AllOf(HasSubstr(GetParam().field), HasSubstr(GetParam().rule))));
}
INSTANTIATE_TEST_SUITE_P(
    All, CaseLineRejects,
    ::testing::Values(
        BadLine{"", "case", "at least one KEY=VALUE"}, BadLine{"colour=red", "colour", "must be one of rules"},
        BadLine{"tp", "tp", "must be followed by =VALUE"}, BadLine{"tp=1,tp=1", "tp=1", "must come once"},
        BadLine{"tp=two", "tp=two", "must be a whole number"}, BadLine{"tp=1.5", "tp=1.5", "must be a whole number"},
        BadLine{"tp=", "tp", "must be a whole number"}, BadLine{"tp=0", "tp=0", "must be from 1"},
        BadLine{"seed=-1", "seed=-1", "must be a whole number"}, BadLine{"tied=yes", "tied=yes", "must be 0 or 1"},
        BadLine{"experts=4096,hidden=4096,moe_hidden=4096,layers=64", "case: parameters=13195", "a case is small"},
        BadLine{"seqs=0:4096,hidden=1024,experts=16,moe_hidden=64", "case: parameters=", "must be at most 32760"},
        BadLine{"rules=titan-infer,dp_shard=1024,tp=8,heads=8,kv_heads=8", "case: ranks=8192", "to 4096"},
        BadLine{"rules=titan", "case: rules=titan", "must be one of"},
        BadLine{"seqs=0", "seqs=0", "must be like 0:3+1:0"}, BadLine{"seqs=0:1+", "seqs=0:1+", "must be like"},
        BadLine{"seqs=1:1", "seqs=1", "must be from 0 to 0"}, BadLine{"seqs=0:-1", "seqs=-1", "must be from 0"},
        BadLine{"math=f64", "math=f64", "f32 or bf16"}, BadLine{"dtype=I32", "dtype=I32", "F32, BF16, F16"},
        BadLine{"rope=ntk", "rope=ntk", "must be none"}, BadLine{"routing=none", "routing=none", "must be random"},
        BadLine{"top_k=2", "top_k=2", "must be from 1 to 1"},
        BadLine{"heads=3,kv_heads=2", "kv_heads=2", "must divide"}, BadLine{"head_dim=3", "head_dim=3", "even"},
        BadLine{"rope=dynamic", "head_dim=2", "must be from 4"},
        BadLine{"dense_layers=1", "dense_layers=1", "must be from 0 to 0"},
        BadLine{"layers=2,dense_layers=1+0", "dense_layers", "ascend"}, BadLine{"eps=0", "eps", "above 0"},
        BadLine{"rules=titan", "titan", "titan-train"},
        BadLine{"dp_shard=2,ep=3,experts=4", "case: ep=3", "must divide"},
        BadLine{"tp=2", "case: tp=2", "num_attention_heads"}, BadLine{"dp_shard=2,ep=2", "case: ep=2", "num_experts"},
        BadLine{"rules=titan-infer,dp_replicate=2", "case: dp_replicate=2", "must be 1"},
        BadLine{"dp_shard=3,hidden=8", "case: dp_shard=3", "uneven Shard(1)"},
        BadLine{"family=mixtral", "family=mixtral", "must be qwen3_moe, llama4 or llama4_text"},
        BadLine{"chunk=2", "family=qwen3_moe", "must be llama4 or llama4_text with"},
        BadLine{"family=llama4,no_rope_layers=1", "no_rope_layers=1", "must be from 0 to 0"},
        BadLine{"family=llama4,shared_hidden=0", "shared_hidden=0", "must be from 1"},
        BadLine{"rules=pr-3143", "pr-3143", "must be a rule set that runs"},
        BadLine{"dp_shard=2,etp=2", "case: etp=2", "must not be given for rules titan-train"},
        BadLine{"rules=vllm,dp_shard=2,ep=2,experts=2,expert_order=last", "expert_order=last", "round_robin"},
        BadLine{"rules=vllm,dp_shard=2,ep=2,experts=2,expert_map=0+0", "physical_to_logical_map=1", "without a slot"},
        BadLine{"rules=vllm,expert_map=0", "case: ep=1", "above 1"}));

}  // namespace
}  // namespace shardproof::props
