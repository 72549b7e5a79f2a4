#include "props/gen/draw_case.hpp"

#include <algorithm>
#include <array>
#include <numeric>

#include "oracle/model/error.hpp"

namespace shardproof::props {

namespace {

struct DrawnRules {
    std::string_view name;
    std::int64_t percent;  // of cases
};
constexpr std::array kRules{DrawnRules{"titan-train", 35}, DrawnRules{"titan-infer", 13},
                            DrawnRules{"titan-infer-fsdp", 12}, DrawnRules{"vllm", 22}, DrawnRules{"megatron", 18}};
constexpr std::int64_t kWorldMax = 16;
constexpr std::int64_t kHiddenMax = 24;

class Dice {
public:
    explicit Dice(sim::Prng& prng) : prng_{prng} {}
    std::int64_t range(std::int64_t min, std::int64_t max) {
        SP_ASSERT(min <= max);
        return min + static_cast<std::int64_t>(prng_.below(static_cast<std::uint64_t>(max - min + 1)));
    }
    bool percent(std::int64_t chance) { return range(0, 99) < chance; }
    template <class T>
    const T& pick(const std::vector<T>& items) {
        return items[prng_.below(items.size())];
    }
    std::uint64_t seed() { return prng_.below(1U << 20U); }  // short in a case's line

private:
    sim::Prng& prng_;
};

std::int64_t up_to_multiple(std::int64_t value, std::int64_t of) { return (value + of - 1) / of * of; }

struct Weighted {
    std::int64_t value;
    std::int64_t weight;
};

template <std::size_t n>
std::int64_t pick_weighted(Dice& dice, const std::array<Weighted, n>& options) {
    std::int64_t sum = 0;
    for (const Weighted& option : options) sum += option.weight;
    std::int64_t at = dice.range(0, sum - 1);
    for (const Weighted& option : options) {
        at -= option.weight;
        if (at < 0) return option.value;
    }
    return options.back().value;
}

struct WorldLayouts {
    std::vector<CaseLayout> all;
    std::vector<CaseLayout> expert_parallel;  // ep > 1
};

// One a rule set, as kRules lists them.
using RulesLayouts = std::array<WorldLayouts, kRules.size()>;

const RulesLayouts& known_layouts(std::int64_t world) {
    static const std::vector<RulesLayouts> table = [] {
        std::vector<RulesLayouts> worlds(static_cast<std::size_t>(kWorldMax) + 1);
        for (std::int64_t w = 1; w <= kWorldMax; ++w) {
            for (const CaseLayout& layout : layouts_of_world(w)) {
                const auto rules = std::ranges::find(kRules, layout.rules, &DrawnRules::name) - kRules.begin();
                WorldLayouts& entry = worlds[static_cast<std::size_t>(w)][static_cast<std::size_t>(rules)];
                entry.all.push_back(layout);
                if (layout.ep > 1) entry.expert_parallel.push_back(layout);
            }
        }
        return worlds;
    }();
    return table.at(static_cast<std::size_t>(world));
}

const WorldLayouts& draw_rules(Dice& dice, const RulesLayouts& known) {
    std::int64_t at = dice.range(0, 99);
    std::size_t i = 0;
    while (at >= kRules[i].percent) at -= kRules[i++].percent;
    return known[i];
}

CaseLayout draw_layout(Dice& dice) {
    constexpr std::array<Weighted, 10> worlds{
        {{1, 3}, {2, 6}, {3, 3}, {4, 48}, {5, 2}, {6, 15}, {7, 1}, {8, 19}, {12, 2}, {16, 1}}};
    const WorldLayouts& known = draw_rules(dice, known_layouts(pick_weighted(dice, worlds)));
    const bool expert_parallel = !known.expert_parallel.empty() && dice.percent(85);
    CaseLayout layout = dice.pick(expert_parallel ? known.expert_parallel : known.all);
    layout.sequence_parallel = layout.tp > 1 && dice.percent(50);
    return layout;
}

std::int64_t draw_experts(Dice& dice, std::int64_t ep) {
    if (ep == 1 && dice.percent(10)) return 1;
    if (dice.percent(65)) return ep * dice.range(2, ep > 4 ? 2 : 4);  // even, two or more a rank
    if (dice.percent(60)) return 2 * ep + dice.range(0, 2 * ep - 1);       // two or more a rank on average
    return ep + dice.range(0, std::min<std::int64_t>(ep, 4));
}

void draw_attention(Dice& dice, const CaseLayout& layout, CaseModel& m) {
    m.kv_heads = layout.tp * (layout.tp <= 2 && dice.percent(25) ? 2 : 1);
    m.heads = m.kv_heads * (m.kv_heads <= 4 ? dice.range(1, 2) : 1);
    // Fewer kv heads than tp ranks: each is held by several.
    if (layout.rules == "vllm" && layout.tp % 2 == 0 && dice.percent(50)) m.kv_heads = layout.tp / 2;
    m.head_dim = 2 * dice.range(1, 3);
    constexpr std::array<Weighted, 5> ropes{{{0, 60}, {1, 10}, {2, 10}, {3, 10}, {4, 10}}};
    m.rope = static_cast<RopeScaling>(pick_weighted(dice, ropes));
    if (m.rope == RopeScaling::dynamic && m.head_dim < 4) m.head_dim = 4;
}

// As published models have it, most of them: softmax, no scale, weights on the experts' output.
void draw_router(Dice& dice, CaseModel& m) {
    m.score = dice.percent(25) ? ScoreFunction::sigmoid : ScoreFunction::softmax;
    m.score_on = dice.percent(12) ? ScoreOn::input : ScoreOn::output;
    constexpr std::array<double, 4> scales{1.5, 2.5, 0.5, -1.0};
    if (dice.percent(35)) m.scale = scales.at(static_cast<std::size_t>(dice.range(0, 3)));
}

// A Llama 4, its router most often as published: one sigmoid a chosen expert, on the expert's input.
void draw_llama4(Dice& dice, CaseModel& m) {
    m.family = dice.percent(50) ? "llama4" : "llama4_text";
    m.score = dice.percent(90) ? ScoreFunction::sigmoid : ScoreFunction::softmax;
    m.score_on = dice.percent(80) ? ScoreOn::input : ScoreOn::output;
    if (dice.percent(75)) m.norm_topk = false;
    if (dice.percent(75)) m.scale = 1.0;
    m.shared_hidden = dice.range(1, 12);
    for (std::int64_t layer = 0; layer < m.layers; ++layer) {
        if (dice.percent(35)) m.no_rope_layers.push_back(layer);
    }
    m.chunk = dice.percent(60) ? dice.range(1, 4) : 0;
    m.floor_scale = dice.percent(60) ? dice.range(1, 3) : 0;
    m.qk_norm = dice.percent(75);
}

CaseModel draw_model(Dice& dice, const CaseLayout& layout) {
    CaseModel m;
    m.experts = draw_experts(dice, layout.ep);
    m.top_k = dice.percent(8) ? m.experts : dice.range(1, std::min<std::int64_t>(m.experts, 3));
    const std::int64_t parts = parts_of_dim1(layout, m.experts);
    m.hidden = parts == 1 ? dice.range(8, kHiddenMax)
                          : parts * dice.range((7 + parts) / parts, std::max<std::int64_t>(kHiddenMax / parts, 1));
    m.moe_hidden = parts == 1 ? dice.range(1, 12) : parts * (layout.ep > 1 ? 1 : layout.tp) * dice.range(1, 2);
    // As kernels want it that take 16 bytes at a time.
    const std::int64_t aligned = std::lcm(8, parts);
    if (aligned <= kHiddenMax && dice.percent(25)) {
        m.hidden = aligned * dice.range(1, kHiddenMax / aligned);
        m.moe_hidden = up_to_multiple(m.moe_hidden, 8 * parts * (layout.ep > 1 ? 1 : layout.tp));
    }
    m.dense_hidden = dice.range(1, 16);
    m.vocab = dice.range(5, 40);
    constexpr std::array<Weighted, 3> layers{{{1, 80}, {2, 16}, {3, 4}}};
    m.layers = pick_weighted(dice, layers);
    for (std::int64_t layer = 0; layer < m.layers; ++layer) {
        if (dice.percent(m.layers == 1 ? 5 : 25)) m.dense_layers.push_back(layer);
    }
    draw_attention(dice, layout, m);
    m.tied = dice.percent(25);
    m.norm_topk = dice.percent(60);
    draw_router(dice, m);
    if (dice.percent(25)) draw_llama4(dice, m);
    fit_to_rules(layout, m);
    m.eps = dice.percent(70) ? 1e-6 : 1e-5;
    constexpr std::array<Weighted, 3> dtypes{{{static_cast<std::int64_t>(DType::F32), 40},
                                              {static_cast<std::int64_t>(DType::BF16), 45},
                                              {static_cast<std::int64_t>(DType::F16), 15}}};
    m.dtype = static_cast<DType>(pick_weighted(dice, dtypes));
    constexpr std::array<Weighted, 4> routings{{{0, 64}, {1, 12}, {2, 12}, {3, 12}}};
    m.routing = static_cast<RoutingFlavour>(pick_weighted(dice, routings));
    m.files = dice.percent(70) ? 1 : dice.range(2, 3);
    m.seed = dice.seed();
    return m;
}

// vLLM's ways to deal experts to ep ranks: in order, in turns, or by a map with an expert or more held twice, in any
// order of slots.
void draw_expert_order(Dice& dice, const CaseModel& m, CaseLayout& layout) {
    if (layout.rules != "vllm" || layout.ep == 1) return;
    if (dice.percent(30)) {
        layout.expert_order = ExpertOrder::round_robin;
    } else if (dice.percent(50)) {
        const std::int64_t slots =
            (m.experts + layout.ep - 1) / layout.ep * layout.ep + (m.experts > 1 && dice.percent(60) ? layout.ep : 0);
        const std::int64_t each = slots / layout.ep;
        // As vLLM begins, experts in order and then again from the first; a rank's slots are distinct while each <= E.
        for (std::int64_t slot = 0; slot < slots; ++slot) layout.expert_map.push_back(slot % m.experts);
        if (each > m.experts) layout.expert_map.clear();
        // A rank's slots in another order, and ranks in another order, keep it so.
        if (layout.expert_map.empty()) return;
        const std::int64_t turn = dice.range(0, layout.ep - 1) * each;
        std::rotate(layout.expert_map.begin(), layout.expert_map.begin() + turn, layout.expert_map.end());
        if (dice.percent(50)) {
            for (std::int64_t rank = 0; rank < layout.ep; ++rank)
                std::reverse(layout.expert_map.begin() + rank * each, layout.expert_map.begin() + (rank + 1) * each);
        }
    }
}

std::vector<CaseSequence> draw_sequences(Dice& dice, const CaseLayout& layout) {
    std::vector<CaseSequence> sequences;
    if (dice.percent(2)) return sequences;
    const std::int64_t even = dice.percent(8) ? dice.range(1, 2) * layout.tp : 0;
    // Tokens of one tp group; a rank's share stays within 8.
    const std::int64_t most = std::min<std::int64_t>(8 * layout.tp, 8);
    for (std::int64_t dp = 0; dp < layout.num_dp(); ++dp) {
        std::int64_t tokens = even;
        if (even == 0) tokens = dice.percent(layout.num_dp() > 1 ? 20 : 4) ? 0 : dice.range(1, most);
        while (tokens > 0) {
            const std::int64_t length = dice.percent(60) ? tokens : dice.range(1, tokens);
            sequences.push_back({dp, length});
            tokens -= length;
        }
        if (dice.percent(5)) sequences.push_back({dp, 0});
    }
    if (dice.percent(30)) {
        for (std::size_t i = sequences.size(); i > 1; --i)
            std::swap(sequences[i - 1],
                      sequences[static_cast<std::size_t>(dice.range(0, static_cast<std::int64_t>(i) - 1))]);
    }
    return sequences;
}

}  // namespace

std::int64_t parts_of_dim1(const CaseLayout& layout, std::int64_t experts) {
    if (layout.rules != "titan-train" && layout.rules != "titan-infer-fsdp") return 1;
    if (layout.ep > 1) {
        const std::int64_t inner = layout.dp_shard * layout.tp;
        return inner > experts ? inner / layout.ep : 1;
    }
    return layout.num_dp() > experts ? layout.dp_shard : 1;
}

namespace {

// The layouts of one rule set over `inner` ranks of a replica.
void append_layouts(std::vector<CaseLayout>& layouts, std::string_view rules, std::int64_t replicate,
                    std::int64_t inner) {
    const bool all_or_none = rules == "titan-infer" || rules == "vllm";
    for (std::int64_t tp = 1; tp <= inner; ++tp) {
        if (inner % tp != 0) continue;
        // vLLM pads its vocabulary to a multiple of 64, which tp must divide.
        if (rules == "vllm" && (tp & (tp - 1)) != 0) continue;
        for (std::int64_t ep = 1; ep <= inner; ++ep) {
            if (inner % ep != 0 || (all_or_none && ep != 1 && ep != inner)) continue;
            CaseLayout layout{
                .rules = std::string{rules}, .dp_replicate = replicate, .dp_shard = inner / tp, .tp = tp, .ep = ep};
            layouts.push_back(layout);
            for (layout.etp = 2; rules == "megatron" && layout.etp <= inner / ep; ++layout.etp) {
                if (inner / ep % layout.etp == 0) layouts.push_back(layout);
            }
        }
    }
}

}  // namespace

void fit_to_rules(const CaseLayout& layout, CaseModel& m) {
    const bool vllm = layout.rules == "vllm";
    if (!vllm && layout.rules != "megatron") return;
    m.dense_hidden = up_to_multiple(m.dense_hidden, layout.tp);
    if (m.is_llama4()) m.shared_hidden = up_to_multiple(m.shared_hidden, layout.tp);
    const std::int64_t parts = vllm && layout.ep == 1 ? layout.dp_shard * layout.tp : layout.etp;
    m.moe_hidden = up_to_multiple(m.moe_hidden, parts);
    m.experts = vllm ? std::max(m.experts, layout.tp) : up_to_multiple(m.experts, layout.ep);
}

std::vector<CaseLayout> layouts_of_world(std::int64_t world) {
    std::vector<CaseLayout> layouts;
    for (const auto& [rules, percent] : kRules) {
        const bool replicates = rules == "titan-train" || rules == "titan-infer-fsdp";
        for (std::int64_t replicate = 1; replicate <= world; ++replicate) {
            if (world % replicate == 0 && (replicate == 1 || replicates))
                append_layouts(layouts, rules, replicate, world / replicate);
        }
    }
    return layouts;
}

Case draw_case(sim::Prng& prng) {
    Dice dice{prng};
    Case c;
    c.layout = draw_layout(dice);
    c.model = draw_model(dice, c.layout);
    draw_expert_order(dice, c.model, c.layout);
    c.sequences = draw_sequences(dice, c.layout);
    c.arithmetic = dice.percent(40) ? Arithmetic::bf16 : Arithmetic::f32;
    c.scheduler_seed = dice.seed();
    return c;
}

}  // namespace shardproof::props
