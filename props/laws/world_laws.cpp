#include "props/laws/world_laws.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>

#include "props/gen/draw_case.hpp"
#include "props/gen/tiny_model.hpp"

namespace shardproof::props::world {

namespace {

bool same_bits(std::span<const float> a, std::span<const float> b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// What differs between two records of the same rank, or nothing.
std::string_view difference(const RankRecord& a, const RankRecord& b) {
    if (a.tokens != b.tokens) return "tokens";
    if (!same_bits(a.input.values, b.input.values)) return "input";
    if (!same_bits(a.hidden.values, b.hidden.values)) return "hidden";
    if (a.expert_ids != b.expert_ids) return "expert ids";
    if (!same_bits(a.expert_weights, b.expert_weights)) return "expert weights";
    if (!same_bits(a.output.values, b.output.values)) return "output";
    return {};
}

// One token's row of a stage's output, wherever it was recorded.
std::map<TokenId, std::span<const float>> output_of_tokens(const StageRecord& stage) {
    std::map<TokenId, std::span<const float>> rows;
    for (const RankRecord& record : stage.ranks) {
        for (std::size_t i = 0; i < record.tokens.size(); ++i)
            rows.emplace(record.tokens[i], std::span{record.output.row(static_cast<std::int64_t>(i)),
                                                     static_cast<std::size_t>(record.output.cols)});
    }
    return rows;
}

// In what order a layout sums an expert's output: not at all (1), over tp after the weighted sum (-tp), or over the
// parts of the expert before it (their number).
std::int64_t order_of_sums(const CaseLayout& layout) {
    if (layout.rules == "megatron") return layout.etp;
    if (layout.ep > 1) return 1;
    if (layout.rules == "vllm") return layout.dp_shard * layout.tp;
    return layout.tp == 1 ? 1 : -layout.tp;
}

// The same model and tokens under layouts that sum in the same order: the same tp group size, sequence parallelism and
// order of an expert's sums.
std::vector<Case> peers_of(const Case& c) {
    constexpr std::int64_t kWorldMax = 8;
    std::vector<Case> peers;
    for (std::int64_t w = c.layout.tp; w <= kWorldMax; w += c.layout.tp) {
        for (CaseLayout& layout : layouts_of_world(w)) {
            layout.sequence_parallel = c.layout.sequence_parallel;
            const bool same_cut = order_of_sums(layout) == order_of_sums(c.layout);
            if (layout.tp != c.layout.tp || !same_cut || layout == c.layout) continue;
            Case peer = c;
            peer.layout = layout;
            for (CaseSequence& sequence : peer.sequences) sequence.dp_idx %= layout.num_dp();
            if (is_valid(peer)) peers.push_back(std::move(peer));
        }
    }
    return peers;
}

using Step = std::tuple<sim::CollectiveKind, std::string_view, DType, std::string_view>;

std::string shown(const Step& step) {
    return fmt::format("{}({}) on {}: {}", name_of(std::get<0>(step)), name_of(std::get<2>(step)), std::get<1>(step),
                       std::get<3>(step));
}

std::optional<std::string> steps_differ(const sim::Trace& trace, std::int64_t num_ranks) {
    std::vector<std::vector<Step>> steps(static_cast<std::size_t>(num_ranks));
    for (const sim::TraceEvent& event : trace) {
        for (const Rank rank : event.ranks)
            steps.at(rank.idx()).emplace_back(event.kind, event.group, event.dtype, event.what);
    }
    for (std::size_t r = 1; r < steps.size(); ++r) {
        if (steps[r] == steps[0]) continue;
        const auto [mine, first] = std::ranges::mismatch(steps[r], steps[0]);
        return fmt::format("step {}: rank {} takes part in {}, rank 0 in {}", mine - steps[r].begin(), r,
                           mine == steps[r].end() ? "nothing" : shown(*mine),
                           first == steps[0].end() ? "nothing" : shown(*first));
    }
    return std::nullopt;
}

std::int64_t bytes_of(const sim::Trace& trace, std::string_view what) {
    std::int64_t bytes = 0;
    for (const sim::TraceEvent& event : trace) {
        if (event.what == what) bytes += event.bytes_sent;
    }
    return bytes;
}

}  // namespace

std::optional<std::string> ends(Subject& subject) {
    if (const auto& stall = subject.report().stall) return stall->message;
    return subject.plan().world() > 1 ? std::nullopt : subject.nothing_to_look_at();
}

std::optional<std::string> ranks_are_in_step(Subject& subject) {
    if (subject.report().stall || subject.plan().world() == 1) return subject.nothing_to_look_at();
    const sim::Trace& trace = subject.trace();
    const Plan& plan = subject.plan();
    if (auto message = steps_differ(trace, plan.dims.world())) return message;
    if (plan.dims.ep() == 1) return std::nullopt;
    const ModelConfig& config = plan.config;
    const std::int64_t width = subject.c().arithmetic == Arithmetic::f32 ? 4 : 2;
    const std::int64_t want = std::ranges::count(config.mlp, MlpKind::moe) * subject.batch().num_tokens() *
                              config.router.top_k * config.hidden_size * width;
    for (const std::string_view what : {"dispatch", "combine"}) {
        const std::int64_t got = bytes_of(trace, what);
        if (got != want)
            return fmt::format("{} moves {} bytes, tokens * top_k * hidden in all MoE layers are {}", what, got, want);
    }
    return std::nullopt;
}

std::optional<std::string> any_schedule(Subject& subject) {
    const bool one_order_only = subject.plan().world() == 1;
    if (subject.report().stall || one_order_only || subject.batch().num_tokens() == 0)
        return subject.nothing_to_look_at();
    const Result& first = *subject.report().result;
    const std::uint64_t seed = subject.c().scheduler_seed + 1;
    const std::optional<Result> second = run_plan(subject.plan(), subject.loaded_model(), subject.batch(),
                                                  subject.c().arithmetic, seed, subject.faults());
    if (!second) return fmt::format("with scheduler seed {} the run stalls", seed);
    for (std::size_t s = 0; s < first.stages.size(); ++s) {
        for (std::size_t r = 0; r < first.stages[s].ranks.size(); ++r) {
            const std::string_view what = difference(first.stages[s].ranks[r], second->stages[s].ranks[r]);
            if (!what.empty())
                return fmt::format("{}, rank {}: the {} differ between scheduler seeds {} and {}",
                                   name_of(first.stages[s].kind, first.stages[s].layer), r, what, seed - 1, seed);
        }
    }
    return std::nullopt;
}

std::optional<std::string> layouts_agree(Subject& subject) {
    if (subject.report().stall || subject.batch().num_tokens() == 0) return subject.nothing_to_look_at();
    const std::vector<Case> peers = peers_of(subject.c());
    if (peers.empty()) return subject.nothing_to_look_at();
    const Case& peer = peers[subject.c().scheduler_seed % peers.size()];
    const Plan plan =
        make_plan(subject.model(), dims_of(peer.layout), rule_set_named(peer.layout.rules), options_of(peer.layout));
    const std::optional<Result> other =
        run_plan(plan, subject.model(), make_batch(peer), peer.arithmetic, peer.scheduler_seed, nullptr);
    if (!other) return "the run stalls under " + print_case(peer);
    for (std::size_t s = 0; s < other->stages.size(); ++s) {
        const StageRecord& stage = subject.report().result->stages[s];
        const auto here = output_of_tokens(stage);
        const auto there = output_of_tokens(other->stages[s]);
        for (const auto& [token, row] : here) {
            const auto found = there.find(token);
            if (found != there.end() && same_bits(row, found->second)) continue;
            return fmt::format("{}, token {}: other bits than under {}", name_of(stage.kind, stage.layer),
                               token.value(), print_case(peer));
        }
        if (here.size() != there.size()) return "another number of tokens than under " + print_case(peer);
    }
    return std::nullopt;
}

}  // namespace shardproof::props::world
