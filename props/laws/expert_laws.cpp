#include "props/laws/expert_laws.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "oracle/judge.hpp"
#include "oracle/model/error.hpp"
#include "props/laws/variations.hpp"
#include "sim/prng.hpp"

namespace shardproof::props::experts {

namespace {

const ParamPlan& param_of(const Plan& plan, Role role, std::int64_t layer) {
    const auto found = std::ranges::find_if(plan.params, [&](const ParamPlan& param) {
        return param.parameter.role == role && param.parameter.layer == layer;
    });
    SP_ASSERT(found != plan.params.end());
    return *found;
}

bool shares_an_expert(const Model& model) { return model.config.shared_intermediate_size > 0; }

// The tensors of a layer's parameter, all of them its own, each changed by `change`.
Model with_changed(const Model& model, const Plan& plan, Role role, std::int64_t layer,
                   const std::function<void(std::span<std::byte>, DType)>& change) {
    const ParamPlan& changed = param_of(plan, role, layer);
    return altered_model(model, [&](std::string_view tensor, std::span<std::byte> bytes) {
        const std::vector<Source>& sources = changed.parameter.sources;
        if (std::ranges::find(sources, tensor, &Source::tensor) != sources.end()) change(bytes, changed.dtype);
    });
}

void zero(std::span<std::byte> bytes, DType /*dtype*/) { std::ranges::fill(bytes, std::byte{0}); }

// w2 of all experts of a layer, of the shared one as well, changed by `change`.
Model with_w2(const Model& model, const Plan& plan, std::int64_t layer,
              const std::function<void(std::span<std::byte>, DType)>& change) {
    const Model routed = with_changed(model, plan, Role::expert_w2, layer, change);
    return shares_an_expert(model) ? with_changed(routed, plan, Role::shared_w2, layer, change) : routed;
}

// The stage that both runs record; rows of `other` whose output is not hidden + factor * (output - hidden) of `first`.
// Exact but for the two rounded additions to hidden.
std::optional<std::string> not_in_proportion(const StageRecord& first, const StageRecord& other, double factor,
                                             Arithmetic arithmetic) {
    const double roundoff = arithmetic == Arithmetic::f32 ? 0x1p-24 : 0x1.01p-8;
    for (std::size_t r = 0; r < first.ranks.size(); ++r) {
        const RankRecord& a = first.ranks[r];
        const RankRecord& b = other.ranks[r];
        if (a.hidden.values.size() != b.output.values.size()) return fmt::format("rank {} has other rows", r);
        for (std::size_t i = 0; i < a.output.values.size(); ++i) {
            const double s = static_cast<double>(a.hidden.values[i]);
            const double once = static_cast<double>(a.output.values[i]);
            const double got = static_cast<double>(b.output.values[i]);
            const double want = s + factor * (once - s);
            const double bound =
                factor == 0 ? 0 : roundoff * 1.01 * (std::abs(got) + std::abs(factor) * std::abs(once)) + 1e-37;
            if (std::abs(got - want) <= bound) continue;
            return fmt::format("rank {}, row {}, column {}: {} where hidden {} and output {} want {}", r,
                               static_cast<std::int64_t>(i) / a.output.cols,
                               static_cast<std::int64_t>(i) % a.output.cols, got, s, once, want);
        }
    }
    return std::nullopt;
}

struct Varied {
    std::string_view name;
    double factor;
};

std::optional<std::string> judged_in_proportion(Subject& subject, const Plan& plan, const Model& model, Varied how) {
    const std::optional<Result> other = run_varied(subject, plan, model, subject.batch());
    if (!other) return fmt::format("with {} the run stalls", how.name);
    const std::size_t stage = *first_moe_stage(model.config);
    const StageRecord& first = subject.report().result->stages[stage];
    if (auto why = not_in_proportion(first, other->stages[stage], how.factor, subject.c().arithmetic))
        return fmt::format("with {}, {}, {}", how.name, name_of(first.kind, first.layer), *why);
    return std::nullopt;
}

bool can_vary(Subject& subject) {
    return !subject.report().stall && first_moe_stage(subject.model().config) && subject.batch().num_tokens() > 0;
}

Plan with_router(const Plan& plan, const std::function<void(RouterSpec&)>& change) {
    Plan changed = plan;
    change(changed.config.router);
    return changed;
}

std::optional<std::string> weights_in_proportion(const StageRecord& first, const StageRecord& other, float factor) {
    for (std::size_t r = 0; r < first.ranks.size(); ++r) {
        const std::vector<float>& a = first.ranks[r].expert_weights;
        const std::vector<float>& b = other.ranks[r].expert_weights;
        if (a.size() != b.size()) return fmt::format("rank {} has other weights", r);
        for (std::size_t i = 0; i < a.size(); ++i) {
            if (b[i] == factor * a[i]) continue;
            return fmt::format("rank {}, weight {}: {} where {} becomes {}", r, i, b[i], a[i], factor * a[i]);
        }
    }
    return std::nullopt;
}

}  // namespace

std::optional<std::string> output_is_linear(Subject& subject) {
    if (!can_vary(subject)) return subject.nothing_to_look_at();
    const std::int64_t layer = *subject.model().config.first_moe_layer();
    const Plan& plan = subject.plan();
    const Model without = with_w2(subject.loaded_model(), plan, layer, zero);
    if (auto message = judged_in_proportion(subject, plan, without, {"w2 = 0", 0})) return message;
    // Exact in every dtype. The sign alone would let an odd function pass, twice alone a magnitude.
    const Model turned = with_w2(subject.loaded_model(), plan, layer, [](std::span<std::byte> bytes, DType dtype) {
        negate(bytes, dtype);
        twice(bytes, dtype);
    });
    return judged_in_proportion(subject, plan, turned, {"-2 w2", -2});
}

std::optional<std::string> scale_applies_once(Subject& subject) {
    if (!can_vary(subject)) return subject.nothing_to_look_at();
    const std::size_t stage = *first_moe_stage(subject.model().config);
    StageRecord first = subject.report().result->stages[stage];
    // The scale is no business of a shared expert: here it brings nothing.
    std::optional<Model> alone;
    if (shares_an_expert(subject.loaded_model())) {
        alone = with_changed(subject.loaded_model(), subject.plan(), Role::shared_w2,
                             *subject.model().config.first_moe_layer(), zero);
        const std::optional<Result> run = run_varied(subject, subject.plan(), *alone, subject.batch());
        if (!run) return "without the shared expert's output the run stalls";
        first = run->stages[stage];
    }
    const Model& model = alone ? *alone : subject.loaded_model();
    for (const double factor : {0.0, -2.0}) {
        const Plan plan = with_router(subject.plan(), [&](RouterSpec& router) { router.scale *= factor; });
        const std::optional<Result> other = run_varied(subject, plan, model, subject.batch());
        if (!other) return fmt::format("with scale * {} the run stalls", factor);
        auto why = weights_in_proportion(first, other->stages[stage], static_cast<float>(factor));
        // What a weight on the input does to the output is the experts' business, but for no input at all.
        const bool linear = plan.config.router.score_on == ScoreOn::output || factor == 0;
        if (!why && linear) why = not_in_proportion(first, other->stages[stage], factor, subject.c().arithmetic);
        if (why) return fmt::format("with scale * {}, {}, {}", factor, name_of(first.kind, first.layer), *why);
    }
    return std::nullopt;
}

std::optional<std::string> top_k_is_of_all_scores(Subject& subject) {
    const RouterSpec& router = subject.plan().config.router;
    const bool all_chosen = router.top_k == router.num_experts;
    if (!can_vary(subject) || all_chosen) return subject.nothing_to_look_at();
    const Plan plan = with_router(subject.plan(), [](RouterSpec& all) {
        all.top_k = all.num_experts;
        all.norm_topk = false;
        all.scale = 1;
    });
    const std::optional<Result> other = run_varied(subject, plan, subject.loaded_model(), subject.batch());
    if (!other) return "with all experts chosen the run stalls";
    const auto k = static_cast<std::size_t>(router.top_k);
    const auto all = static_cast<std::size_t>(router.num_experts);
    const std::size_t stage = *first_moe_stage(subject.model().config);
    const StageRecord& first = subject.report().result->stages[stage];
    for (std::size_t r = 0; r < first.ranks.size(); ++r) {
        const RankRecord& mine = first.ranks[r];
        const RankRecord& whole = other->stages[stage].ranks[r];
        for (std::size_t row = 0; row * k < mine.expert_ids.size(); ++row) {
            const float* scores = whole.expert_weights.data() + row * all;
            const double sum = router.norm_topk ? std::accumulate(scores, scores + k, 0.0) : 1.0;
            for (std::size_t i = 0; i < k; ++i) {
                const std::string where =
                    fmt::format("{}, rank {}, row {}, choice {}", name_of(first.kind, first.layer), r, row, i);
                const ExpertId id = mine.expert_ids[row * k + i];
                const ExpertId want_id = whole.expert_ids[row * all + i];
                if (id != want_id)
                    return fmt::format("{}: expert {}, of all experts it is {}", where, id.value(), want_id.value());
                const double want = static_cast<double>(scores[i]) / sum * router.scale;
                const auto got = static_cast<double>(mine.expert_weights[row * k + i]);
                const double slack = (static_cast<double>(k) + 4) * 0x1p-24 * std::abs(want) + 1e-37;
                if (!(std::abs(got - want) <= slack))
                    return fmt::format("{}: weight {}, its share of all scores is {}", where, got, want);
            }
        }
    }
    return std::nullopt;
}

namespace {

// Never the order that they have.
std::vector<std::int64_t> drawn_order(std::int64_t count, sim::Prng& prng) {
    std::vector<std::int64_t> order(static_cast<std::size_t>(count));
    std::iota(order.begin(), order.end(), std::int64_t{0});
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[prng.below(i)]);
    if (std::ranges::is_sorted(order)) std::rotate(order.begin(), order.begin() + 1, order.end());
    return order;
}

// One expert's slice of a tensor that has them all along dim 0, in the new order.
void reorder_slices(std::span<const std::byte> old, const std::vector<std::int64_t>& order,
                    std::span<std::byte> bytes) {
    const std::size_t slice = bytes.size() / order.size();
    for (std::size_t i = 0; i < order.size(); ++i)
        std::ranges::copy(old.subspan(static_cast<std::size_t>(order[i]) * slice, slice),
                          bytes.begin() + static_cast<std::ptrdiff_t>(i * slice));
}

// Expert i of the new model is expert order[i] of the old one, whether experts are tensors of their own or slices of
// one.
Model reordered(const Model& model, const std::vector<std::int64_t>& order) {
    std::map<std::string, std::string, std::less<>> taken_from;  // tensor -> tensor
    std::set<std::string, std::less<>> sliced;                   // by expert along dim 0
    for (const Parameter& parameter : model.parameters) {
        const std::vector<Source>& sources = parameter.sources;
        if (parameter.role == Role::router_gate) sliced.insert(sources.front().tensor);
        if (!is_routed_expert(parameter.role)) continue;
        if (sources.size() == 1 && sources.front().param_dim_of.front() == 0) {
            sliced.insert(sources.front().tensor);
            continue;
        }
        SP_ASSERT(sources.size() == order.size());
        for (std::size_t i = 0; i < order.size(); ++i)
            taken_from.emplace(sources[i].tensor, sources[static_cast<std::size_t>(order[i])].tensor);
    }
    return altered_model(model, [&](std::string_view tensor, std::span<std::byte> bytes) {
        if (const auto found = taken_from.find(tensor); found != taken_from.end())
            std::ranges::copy(model.checkpoint.tensor(found->second).bytes, bytes.begin());
        if (sliced.contains(tensor)) reorder_slices(model.checkpoint.tensor(tensor).bytes, order, bytes);
    });
}

}  // namespace

std::optional<std::string> order_does_not_matter(Subject& subject) {
    const Model& model = subject.model();
    // Of equal scores the lowest id is chosen: another order, another choice.
    const bool tied = subject.c().model.routing == RoutingFlavour::exact_ties;
    if (!can_vary(subject) || tied || model.config.router.num_experts == 1) return subject.nothing_to_look_at();
    sim::Prng prng{subject.c().scheduler_seed + 3 * subject.c().model.seed};
    const std::vector<std::int64_t> order = drawn_order(model.config.router.num_experts, prng);
    std::optional<Result> other =
        run_varied(subject, subject.plan(), reordered(subject.loaded_model(), order), subject.batch());
    if (!other) return "with experts in another order the run stalls";
    oracle::Judge judge{model.config, model.checkpoint, subject.batch(), subject.c().arithmetic};
    for (StageRecord& stage : other->stages) {
        for (RankRecord& record : stage.ranks) {
            for (ExpertId& id : record.expert_ids) {
                if (id.value() >= 0 && id.idx() < order.size()) id = ExpertId{order[id.idx()]};
            }
        }
        const LayerVerdict verdict = judge.judge(stage);
        if (verdict.ok || !verdict.failure) continue;
        const Mismatch& m = *verdict.failure;
        return fmt::format("with experts in the order {}: {} on rank {}, [{}]: got {}, want {}, bound {}: {}",
                           fmt::join(order, ","), m.layer, m.rank.value(), fmt::join(m.coordinate, ","), m.got, m.want,
                           m.bound, m.why);
    }
    return std::nullopt;
}

}  // namespace shardproof::props::experts
