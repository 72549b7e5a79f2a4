// What a case shrinks to: one thing smaller at a time, ranks first, the rest mended to stay valid.
#include <algorithm>
#include <numeric>

#include "props/gen/draw_case.hpp"

namespace shardproof::props {

namespace {

// What rule sets of other frameworks have beside the degrees, where the case still has it.
void mend_options(Case& c) {
    CaseLayout& layout = c.layout;
    if (layout.rules != "megatron") layout.etp = 1;
    const std::int64_t rest = layout.dp_shard * layout.tp / layout.ep;
    if (rest % layout.etp != 0) layout.etp = std::gcd(rest, layout.etp);
    if (layout.rules != "vllm" || layout.ep == 1) {
        layout.expert_order = ExpertOrder::linear;
        layout.expert_map.clear();
    }
    const std::int64_t highest = layout.expert_map.empty() ? -1 : *std::ranges::max_element(layout.expert_map);
    const auto slots = static_cast<std::int64_t>(layout.expert_map.size());
    if (highest != c.model.experts - 1 || slots % layout.ep != 0) layout.expert_map.clear();
}

void forget_llama4(CaseModel& m) {
    const CaseModel plain;
    m.shared_hidden = plain.shared_hidden;
    m.no_rope_layers = plain.no_rope_layers;
    m.chunk = plain.chunk;
    m.floor_scale = plain.floor_scale;
    m.qk_norm = plain.qk_norm;
}

void mend(Case& c) {
    CaseLayout& layout = c.layout;
    CaseModel& m = c.model;
    const bool all_or_none = layout.rules == "titan-infer" || layout.rules == "vllm";
    if (all_or_none || layout.rules == "megatron") layout.dp_replicate = 1;
    layout.ep = std::min(layout.ep, m.experts);
    const std::int64_t inner = layout.dp_shard * layout.tp;
    if (inner % layout.ep != 0) layout.ep = std::gcd(inner, layout.ep);
    if (all_or_none && layout.ep != 1) layout.ep = m.experts >= inner ? inner : 1;
    if (layout.rules == "megatron" && m.experts % layout.ep != 0) layout.ep = std::gcd(m.experts, layout.ep);
    mend_options(c);
    if (layout.tp == 1) layout.sequence_parallel = false;
    m.top_k = std::min(m.top_k, m.experts);
    const bool replicated = layout.rules == "vllm" && m.kv_heads < layout.tp;
    if (m.kv_heads % layout.tp != 0) m.kv_heads = replicated ? std::gcd(m.kv_heads, layout.tp) : layout.tp;
    if (m.heads % layout.tp != 0) m.heads = layout.tp;
    if (m.heads % m.kv_heads != 0) m.heads = m.kv_heads;
    // Fewer experts or ranks may be cut along dim 1, which must come out even.
    const std::int64_t parts = parts_of_dim1(layout, m.experts);
    const auto up_to_multiple = [](std::int64_t value, std::int64_t of) { return (value + of - 1) / of * of; };
    if (parts > 1) {
        m.hidden = up_to_multiple(m.hidden, parts);
        m.moe_hidden = up_to_multiple(m.moe_hidden, parts * (layout.ep > 1 ? 1 : layout.tp));
    }
    if (!m.is_llama4()) forget_llama4(m);
    fit_to_rules(layout, m);
    for (std::vector<std::int64_t>* layers : {&m.dense_layers, &m.no_rope_layers})
        std::erase_if(*layers, [&](std::int64_t layer) { return layer >= m.layers; });
    for (CaseSequence& sequence : c.sequences) sequence.dp_idx %= layout.num_dp();
}

class Shrinks {
public:
    explicit Shrinks(const Case& c) : from_{c} {}

    template <class Change>
    void add(Change&& change) {
        Case smaller = from_;
        change(smaller);
        mend(smaller);
        if (smaller == from_ || !is_valid(smaller) || std::ranges::find(found_, smaller) != found_.end()) return;
        found_.push_back(std::move(smaller));
    }
    // Towards `least`: all the way, half the way, by one.
    template <class Member>
    void number(Member&& member, std::int64_t least) {
        const std::int64_t now = member(const_cast<Case&>(from_));
        for (const std::int64_t value : {least, least + (now - least) / 2, now - 1}) {
            if (value >= least && value < now) add([&](Case& c) { member(c) = value; });
        }
    }
    // A degree to every smaller one: most do not divide what they must.
    template <class Member>
    void degree(Member&& member) {
        for (std::int64_t value = 1; value < member(const_cast<Case&>(from_)); ++value)
            add([&](Case& c) { member(c) = value; });
    }
    // To its value in the smallest case.
    template <class Member>
    void plain(Member&& member) {
        Case smallest;
        add([&](Case& c) { member(c) = member(smallest); });
    }
    std::vector<Case> take() { return std::move(found_); }

private:
    const Case& from_;
    std::vector<Case> found_;
};

void shrink_layout(Shrinks& shrinks, const CaseLayout& from) {
    shrinks.degree([](Case& c) -> auto& { return c.layout.dp_replicate; });
    shrinks.degree([](Case& c) -> auto& { return c.layout.dp_shard; });
    shrinks.degree([](Case& c) -> auto& { return c.layout.tp; });
    shrinks.degree([](Case& c) -> auto& { return c.layout.ep; });
    // All ranks in one ep group, then fewer of them: neither degree can shrink alone where ep spans them all. Every
    // step has fewer ranks, or as many with a smaller tp: no way leads back.
    for (const std::int64_t ranks : {from.ep - from.ep / 2, from.ep - 1, from.ep}) {
        const bool fewer = ranks < from.world();
        if (ranks < 2) continue;
        if (fewer || from.tp > 1)
            shrinks.add([&](Case& c) { c.layout = {.rules = from.rules, .dp_shard = ranks, .ep = ranks}; });
        if (fewer) {
            shrinks.add([&](Case& c) {
                const bool sp = from.sequence_parallel;
                c.layout = {.rules = from.rules, .tp = ranks, .ep = ranks, .sequence_parallel = sp};
            });
        }
    }
    // Both at once where they are one number: each alone would leave them different.
    for (std::int64_t value = 2; value < from.dp_shard && from.ep == from.dp_shard; ++value) {
        shrinks.add([&](Case& c) { c.layout.dp_shard = c.layout.ep = value; });
    }
    shrinks.degree([](Case& c) -> auto& { return c.layout.etp; });
    shrinks.plain([](Case& c) -> auto& { return c.layout.expert_map; });
    shrinks.plain([](Case& c) -> auto& { return c.layout.expert_order; });
    shrinks.plain([](Case& c) -> auto& { return c.layout.sequence_parallel; });
    shrinks.plain([](Case& c) -> auto& { return c.layout.rules; });
}

void shrink_tokens(Shrinks& shrinks, const Case& from) {
    shrinks.add([](Case& c) { c.sequences.clear(); });
    if (from.sequences.size() > 1) shrinks.add([](Case& c) { c.sequences.resize(1); });
    for (std::size_t i = 0; i < from.sequences.size(); ++i) {
        shrinks.add([&](Case& c) { c.sequences.erase(c.sequences.begin() + static_cast<std::ptrdiff_t>(i)); });
    }
    for (std::size_t i = 0; i < from.sequences.size(); ++i) {
        shrinks.number([&](Case& c) -> auto& { return c.sequences[i].length; }, 1);
        shrinks.number([&](Case& c) -> auto& { return c.sequences[i].dp_idx; }, 0);
    }
}

// Without its layer `gone`; those behind it move up.
void drop_layer(CaseModel& m, std::int64_t gone) {
    for (std::vector<std::int64_t>* layers : {&m.dense_layers, &m.no_rope_layers}) {
        std::erase(*layers, gone);
        for (std::int64_t& layer : *layers) layer -= layer > gone ? 1 : 0;
    }
    --m.layers;
}

void shrink_model(Shrinks& shrinks, const Case& from) {
    const CaseModel least;
    for (std::int64_t layer = 0; from.model.layers > 1 && layer < from.model.layers; ++layer)
        shrinks.add([&](Case& c) { drop_layer(c.model, layer); });
    shrinks.plain([](Case& c) -> auto& { return c.model.family; });
    shrinks.number([](Case& c) -> auto& { return c.model.experts; }, least.experts);
    shrinks.number([](Case& c) -> auto& { return c.model.top_k; }, least.top_k);
    shrinks.plain([](Case& c) -> auto& { return c.model.dense_layers; });
    shrinks.number([](Case& c) -> auto& { return c.model.kv_heads; }, least.kv_heads);
    shrinks.number([](Case& c) -> auto& { return c.model.heads; }, least.heads);
    shrinks.number([](Case& c) -> auto& { return c.model.head_dim; }, least.head_dim);
    shrinks.number([](Case& c) -> auto& { return c.model.hidden; }, least.hidden);
    shrinks.number([](Case& c) -> auto& { return c.model.moe_hidden; }, least.moe_hidden);
    shrinks.number([](Case& c) -> auto& { return c.model.dense_hidden; }, least.dense_hidden);
    shrinks.number([](Case& c) -> auto& { return c.model.shared_hidden; }, least.shared_hidden);
    shrinks.plain([](Case& c) -> auto& { return c.model.no_rope_layers; });
    shrinks.plain([](Case& c) -> auto& { return c.model.chunk; });
    shrinks.plain([](Case& c) -> auto& { return c.model.floor_scale; });
    shrinks.plain([](Case& c) -> auto& { return c.model.qk_norm; });
    shrinks.number([](Case& c) -> auto& { return c.model.vocab; }, least.vocab);
    shrinks.plain([](Case& c) -> auto& { return c.model.tied; });
    shrinks.plain([](Case& c) -> auto& { return c.model.norm_topk; });
    shrinks.plain([](Case& c) -> auto& { return c.model.score; });
    shrinks.plain([](Case& c) -> auto& { return c.model.score_on; });
    shrinks.plain([](Case& c) -> auto& { return c.model.scale; });
    shrinks.plain([](Case& c) -> auto& { return c.model.rope; });
    shrinks.plain([](Case& c) -> auto& { return c.model.routing; });
    shrinks.plain([](Case& c) -> auto& { return c.model.dtype; });
    shrinks.plain([](Case& c) -> auto& { return c.model.files; });
    shrinks.plain([](Case& c) -> auto& { return c.model.eps; });
}

}  // namespace

std::vector<Case> smaller_cases(const Case& c) {
    Shrinks shrinks{c};
    shrink_layout(shrinks, c.layout);
    shrink_tokens(shrinks, c);
    shrink_model(shrinks, c);
    shrinks.plain([](Case& smaller) -> auto& { return smaller.arithmetic; });
    shrinks.plain([](Case& smaller) -> auto& { return smaller.model.seed; });
    shrinks.plain([](Case& smaller) -> auto& { return smaller.scheduler_seed; });
    return shrinks.take();
}

}  // namespace shardproof::props
