// Every layout of 1 to 4 ranks, with 1 to 4 experts and 0 to 3 tokens dealt in every way: exhaustive where random cases
// are not.
#include <gtest/gtest.h>

#include <algorithm>

#include "props/gen/draw_case.hpp"
#include "props/gen/traits.hpp"
#include "props/laws/law.hpp"

namespace shardproof::props {
namespace {

constexpr std::int64_t kRanksMax = 4;
constexpr std::int64_t kExpertsMax = 4;
constexpr std::int64_t kTokensMax = 3;

// Every way to give `num_dp` data-parallel ranks at most `tokens` tokens in all.
void deal(std::int64_t num_dp, std::int64_t tokens, std::vector<std::int64_t>& dealt,
          std::vector<std::vector<std::int64_t>>& all) {
    if (static_cast<std::int64_t>(dealt.size()) == num_dp) {
        all.push_back(dealt);
        return;
    }
    for (std::int64_t n = 0; n <= tokens; ++n) {
        dealt.push_back(n);
        deal(num_dp, tokens - n, dealt, all);
        dealt.pop_back();
    }
}

std::vector<CaseSequence> sequences_of(const std::vector<std::int64_t>& dealt, bool with_empty) {
    std::vector<CaseSequence> sequences;
    for (std::size_t dp = 0; dp < dealt.size(); ++dp) {
        if (dealt[dp] > 0 || with_empty) sequences.push_back({static_cast<std::int64_t>(dp), dealt[dp]});
    }
    return sequences;
}

// What a layout and a number of experts leave open goes round with `turn`, so that all of it comes up.
CaseModel model_of(const CaseLayout& layout, std::int64_t experts, std::int64_t top_k, std::uint64_t turn) {
    CaseModel m;
    const std::int64_t inner = layout.dp_shard * layout.tp;
    const bool many = (layout.ep > 1 ? inner : layout.num_dp()) > experts;
    m.experts = experts;
    m.top_k = top_k;
    m.hidden = many ? 12 : 8;  // where FSDP cuts dim 1 it must do so evenly
    m.moe_hidden = many ? 12 : 1 + static_cast<std::int64_t>(turn % 3);
    m.dense_hidden = 3;
    m.kv_heads = layout.tp;
    m.heads = layout.tp * (1 + static_cast<std::int64_t>(turn % 2));
    m.head_dim = 4;
    m.vocab = 4 + static_cast<std::int64_t>(turn % 2);
    m.tied = turn % 5 == 0;
    m.norm_topk = turn % 3 == 0;
    m.score = turn % 4 == 2 ? ScoreFunction::sigmoid : ScoreFunction::softmax;
    m.score_on = turn % 9 == 4 ? ScoreOn::input : ScoreOn::output;
    m.scale = turn % 7 == 3 ? 2.5 : 1.0;
    m.layers = turn % 11 == 0 ? 2 : 1;
    if (turn % 22 == 0) m.dense_layers = {0};
    m.rope = static_cast<RopeScaling>(turn % 5);
    m.dtype = std::vector{DType::F32, DType::BF16, DType::F16}[turn % 3];
    m.routing = static_cast<RoutingFlavour>(turn % 4);
    m.files = turn % 7 == 0 ? 2 : 1;
    m.seed = turn;
    if (turn % 6 == 5) {
        m.family = turn % 12 == 5 ? "llama4" : "llama4_text";
        m.shared_hidden = 1 + static_cast<std::int64_t>(turn % 5);
        if (turn % 18 == 5) m.no_rope_layers = {0};
        m.chunk = static_cast<std::int64_t>(turn % 4);
        m.floor_scale = static_cast<std::int64_t>(turn % 3);
        m.qk_norm = turn % 24 != 11;
    }
    if (layout.rules == "vllm" && layout.tp > 1 && turn % 2 == 1) m.kv_heads = layout.tp / 2;
    fit_to_rules(layout, m);
    return m;
}

// vLLM's ways to deal experts: in order, in turns, from the last slot on, and with every rank's first expert held by
// the next rank as well.
void deal_experts(Case& c, std::uint64_t turn) {
    CaseLayout& layout = c.layout;
    if (layout.rules != "vllm" || layout.ep == 1) return;
    if (turn % 4 == 1) layout.expert_order = ExpertOrder::round_robin;
    if (turn % 4 < 2 || c.model.experts % layout.ep != 0) return;
    const std::int64_t each = c.model.experts / layout.ep;
    const bool redundant = turn % 4 == 3 && each < c.model.experts;
    for (std::int64_t rank = 0; rank < layout.ep; ++rank) {
        for (std::int64_t i = each; i-- > 0;) layout.expert_map.push_back(rank * each + i);
        if (redundant) layout.expert_map.push_back((rank + 1) % layout.ep * each);
    }
}

struct Walk {
    std::uint64_t cases = 0;
    Traits seen;

    void try_case(const Case& c) {
        ASSERT_NO_THROW(require_valid(c)) << print_case(c);
        Subject subject{c};
        for (std::size_t i = 0; i < laws().size(); ++i) {
            const Law& law = laws()[i];
            if ((cases + i) % static_cast<std::uint64_t>(law.every) != 0) continue;
            const auto broken = try_law(law, subject);
            ASSERT_FALSE(broken) << broken->law << ": " << broken->message << "\n  " << print_case(c);
        }
        seen |= traits_of(c, *subject.report().result);
        ++cases;
    }

    void try_layout(const CaseLayout& layout) {
        std::vector<std::vector<std::int64_t>> dealings;
        std::vector<std::int64_t> none;
        deal(layout.num_dp(), kTokensMax, none, dealings);
        for (std::int64_t experts = layout.ep; experts <= kExpertsMax; ++experts) {
            if (layout.rules == "megatron" && experts % layout.ep != 0) continue;
            for (std::int64_t top_k = 1; top_k <= experts; ++top_k) {
                for (const std::vector<std::int64_t>& dealt : dealings) {
                    Case c;
                    c.layout = layout;
                    c.model = model_of(layout, experts, top_k, cases);
                    deal_experts(c, cases);
                    c.sequences = sequences_of(dealt, cases % 13 == 0);
                    c.arithmetic = cases % 4 == 3 ? Arithmetic::bf16 : Arithmetic::f32;
                    c.scheduler_seed = cases;
                    try_case(c);
                    if (::testing::Test::HasFatalFailure()) return;
                }
            }
        }
    }
};

TEST(SmallWorlds, ObeyEveryLawWithEveryLayout) {
    Walk walk;
    for (std::int64_t world = 1; world <= kRanksMax; ++world) {
        for (CaseLayout layout : layouts_of_world(world)) {
            for (const bool sequence_parallel : {false, true}) {
                layout.sequence_parallel = sequence_parallel;
                if (sequence_parallel && layout.tp == 1) continue;
                walk.try_layout(layout);
                if (HasFatalFailure()) return;
            }
        }
    }
    RecordProperty("cases", static_cast<int>(walk.cases));
    EXPECT_GT(walk.cases, 3000U);
    for (std::size_t t = 0; t < kNumTraits; ++t) {
        const auto trait = static_cast<Trait>(t);
        EXPECT_EQ(walk.seen.test(t), trait != Trait::world_ge_8) << name_of(trait);
    }
}

}  // namespace
}  // namespace shardproof::props
