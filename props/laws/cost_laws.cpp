#include "props/laws/cost_laws.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

namespace shardproof::props::cost {

namespace {

struct Bytes {
    std::int64_t sent = 0;
    std::int64_t received = 0;
    bool operator==(const Bytes&) const = default;
};
// Of each kind of call on each rank, in the order of the calls.
using Calls =
    std::map<std::tuple<std::string_view, std::string_view, std::string_view, DType, std::int64_t>, std::vector<Bytes>>;

Calls calls_of(const sim::Trace& trace) {
    Calls calls;
    for (const sim::TraceEvent& event : trace) {
        for (std::size_t m = 0; m < event.ranks.size(); ++m) {
            calls[{event.what, name_of(event.kind), event.group, event.dtype, event.ranks[m].value()}].push_back(
                {event.sent_by[m], event.received_by[m]});
        }
    }
    return calls;
}

Calls calls_of(const sim::StepCost& cost) {
    std::map<Calls::key_type, std::vector<std::pair<std::int64_t, Bytes>>> by_stage;
    for (const sim::CollectiveCost& call : cost.collectives) {
        for (std::size_t r = 0; r < call.sent.size(); ++r) {
            auto& list =
                by_stage[{call.what, name_of(call.kind), call.group, call.dtype, static_cast<std::int64_t>(r)}];
            for (const std::int64_t stage : call.stages) list.push_back({stage, {call.sent[r], call.received[r]}});
        }
    }
    Calls calls;
    for (auto& [key, list] : by_stage) {
        std::ranges::stable_sort(list, {}, &std::pair<std::int64_t, Bytes>::first);
        for (const auto& [stage, bytes] : list) calls[key].push_back(bytes);
    }
    return calls;
}

std::string shown(const Calls::key_type& key) {
    const auto& [what, kind, group, dtype, rank] = key;
    return fmt::format("{}({}) on {}: {}, rank {}", kind, name_of(dtype), group, what, rank);
}

// Of the exchange that takes rows to experts, both buffers of each rank in its fullest call; empty: there is none.
std::vector<std::int64_t> dispatch_buffers(const sim::Trace& trace, std::size_t world) {
    std::vector<std::int64_t> fullest;
    for (const sim::TraceEvent& event : trace) {
        if (event.what != "dispatch") continue;
        fullest.resize(world);
        for (std::size_t m = 0; m < event.ranks.size(); ++m) {
            std::int64_t& bytes = fullest[event.ranks[m].idx()];
            bytes = std::max(bytes, event.sent_by[m] + event.received_by[m]);
        }
    }
    return fullest;
}

}  // namespace

std::optional<std::string> difference(const sim::StepCost& forecast, const sim::Trace& counted) {
    const Calls said = calls_of(forecast);
    const Calls seen = calls_of(counted);
    for (const auto& [key, calls] : seen) {
        const auto found = said.find(key);
        if (found == said.end()) return shown(key) + ": counted, not forecast";
        if (found->second.size() != calls.size())
            return fmt::format("{}: {} calls forecast, {} counted", shown(key), found->second.size(), calls.size());
        for (std::size_t i = 0; i < calls.size(); ++i) {
            if (found->second[i] == calls[i]) continue;
            return fmt::format("{}, call {}: {} bytes out and {} in forecast, {} and {} counted", shown(key), i,
                               found->second[i].sent, found->second[i].received, calls[i].sent, calls[i].received);
        }
    }
    for (const auto& [key, calls] : said) {
        if (!seen.contains(key)) return shown(key) + ": forecast, not counted";
    }
    const std::vector<std::int64_t> buffers = dispatch_buffers(counted, forecast.dispatch_bytes.size());
    for (std::size_t r = 0; r < buffers.size(); ++r) {
        if (forecast.dispatch_bytes[r] == buffers[r]) continue;
        return fmt::format("dispatch buffers, rank {}: {} bytes forecast, {} counted", r, forecast.dispatch_bytes[r],
                           buffers[r]);
    }
    return std::nullopt;
}

std::optional<std::string> forecast_is_count(Subject& subject) {
    if (subject.report().stall) return subject.nothing_to_look_at();
    const Plan& plan = subject.plan();
    const Batch& batch = subject.batch();
    sim::StepOptions options{
        .tokens_of_dp = std::vector<std::vector<std::int64_t>>(static_cast<std::size_t>(plan.dims.batch())),
        .arithmetic = subject.c().arithmetic,
        .expert_of = {},
        .same_in_all_layers = false,
        .network = {}};
    for (std::size_t s = 0; s < batch.sequences.size(); ++s) {
        auto& tokens = options.tokens_of_dp[static_cast<std::size_t>(batch.sequences[s].dp_idx)];
        for (std::size_t i = 0; i < batch.sequences[s].ids.size(); ++i)
            tokens.push_back(batch.first_token(s).value() + static_cast<std::int64_t>(i));
    }
    // The experts that the run chose: how many rows go where depends on nothing else.
    std::map<std::pair<std::int64_t, std::int64_t>, std::vector<ExpertId>> chosen;
    const auto top_k = static_cast<std::size_t>(plan.config.router.top_k);
    for (const StageRecord& stage : subject.report().result->stages) {
        for (const RankRecord& record : stage.ranks) {
            for (std::size_t i = 0; i < record.tokens.size() && !record.expert_ids.empty(); ++i) {
                const auto* const ids = record.expert_ids.data() + i * top_k;
                chosen[{stage.layer, record.tokens[i].value()}] = {ids, ids + top_k};
            }
        }
    }
    // A token that nobody recorded is a fault for other laws to tell.
    options.expert_of = [&](std::int64_t layer, std::int64_t token, std::int64_t choice) {
        const auto found = chosen.find({layer, token});
        return found == chosen.end() ? ExpertId{0} : found->second[static_cast<std::size_t>(choice)];
    };
    if (auto message = difference(sim::cost_of(plan, options), subject.trace())) return message;
    return subject.trace().empty() ? subject.nothing_to_look_at() : std::nullopt;
}

}  // namespace shardproof::props::cost
