#include "props/laws/model_laws.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "sim/prng.hpp"

namespace shardproof::props::model {

namespace {

enum class Target : std::uint8_t { output, hidden, expert_weight };

// One element of a stage's records, the same on every rank that records its token.
struct Element {
    std::size_t stage = 0;
    Target target{};
    TokenId token;
    std::int64_t column = 0;
};

std::vector<float>& values_of(RankRecord& record, Target target) {
    if (target == Target::expert_weight) return record.expert_weights;
    return target == Target::hidden ? record.hidden.values : record.output.values;
}

float* place_of(RankRecord& record, const Element& element, std::size_t row) {
    std::vector<float>& values = values_of(record, element.target);
    const std::size_t cols = values.size() / record.tokens.size();
    return values.data() + row * cols + static_cast<std::size_t>(element.column);
}

// Draws an element; nullopt in a batch without tokens.
std::optional<Element> draw_element(Subject& subject) {
    const std::int64_t tokens = subject.batch().num_tokens();
    if (tokens == 0) return std::nullopt;
    const ModelConfig& config = subject.model().config;
    sim::Prng prng{subject.c().scheduler_seed + subject.c().model.seed};
    const Result& result = *subject.report().result;
    Element element;
    element.stage = prng.below(result.stages.size());
    element.token = TokenId{static_cast<std::int64_t>(prng.below(static_cast<std::uint64_t>(tokens)))};
    const StageRecord& stage = result.stages[element.stage];
    if (stage.kind == StageKind::layer)
        element.target = static_cast<Target>(prng.below(config.is_moe(stage.layer) ? 3 : 2));
    std::int64_t cols = stage.kind == StageKind::head ? config.vocab_size : config.hidden_size;
    if (element.target == Target::expert_weight) cols = config.router.top_k;
    element.column = static_cast<std::int64_t>(prng.below(static_cast<std::uint64_t>(cols)));
    return element;
}

StageRecord moved(const StageRecord& stage, const Element& element, float value) {
    StageRecord copy = stage;
    for (RankRecord& record : copy.ranks) {
        for (std::size_t row = 0; row < record.tokens.size(); ++row) {
            if (record.tokens[row] == element.token) *place_of(record, element, row) = value;
        }
    }
    return copy;
}

LayerVerdict judged(Subject& subject, const StageRecord& recorded, const StageRecord& record) {
    oracle::Judge judge{subject.model().config, subject.model().checkpoint, subject.batch(), subject.c().arithmetic};
    const Planted* planted = subject.planted();
    if (planted != nullptr && planted->judge) return planted->judge(judge, recorded, record);
    return judge.judge(record);
}

}  // namespace

std::optional<std::string> within_bounds(Subject& subject) {
    const Verdict& verdict = subject.report().verdict;
    const Mismatch* m = verdict.failure();
    if (m == nullptr) {
        const bool any =
            std::ranges::any_of(verdict.layers, [](const LayerVerdict& layer) { return layer.tokens > 0; });
        return any ? std::nullopt : subject.nothing_to_look_at();
    }
    return fmt::format("{} on rank {}, [{}]: got {}, want {}, bound {}: {}", m->layer, m->rank.value(),
                       fmt::join(m->coordinate, ","), m->got, m->want, m->bound, m->why);
}

std::optional<std::string> judge_sees_four_bounds(Subject& subject) {
    if (!subject.report().verdict.ok() || subject.report().stall) return subject.nothing_to_look_at();
    const std::optional<Element> element = draw_element(subject);
    if (!element) return subject.nothing_to_look_at();
    const StageRecord& stage = subject.report().result->stages[element->stage];
    const std::string name = name_of(stage.kind, stage.layer);

    // Far off, to learn what the oracle wants there and how near is near.
    constexpr float kFar = 1e9F;
    const LayerVerdict far = judged(subject, stage, moved(stage, *element, kFar));
    if (far.ok || !far.failure) return fmt::format("{}: an element moved to {} passes", name, kFar);
    for (const double side : {-4.0, 4.0}) {
        auto value = static_cast<float>(far.failure->want + side * far.failure->bound);
        if (far.failure->bound == 0) value = std::nextafter(value, static_cast<float>(side) * kFar);
        const LayerVerdict near = judged(subject, stage, moved(stage, *element, value));
        if (near.ok || !near.failure)
            return fmt::format("{}, [{}]: {} passes where {} is wanted within {}", name,
                               fmt::join(far.failure->coordinate, ","), value, far.failure->want, far.failure->bound);
        if (near.failure->coordinate != far.failure->coordinate)
            return fmt::format("{}: the element moved is at [{}], the judge names [{}]", name,
                               fmt::join(far.failure->coordinate, ","), fmt::join(near.failure->coordinate, ","));
    }
    return std::nullopt;
}

}  // namespace shardproof::props::model
