#include "reports/cost_print.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <ostream>
#include <vector>

#include "oracle/model/error.hpp"
#include "reports/text.hpp"

namespace shardproof::reports {
namespace {

using PerRank = std::vector<std::int64_t>;

std::int64_t shown_bytes(const PerRank& bytes, const PlanView& view) {
    return view.rank ? bytes[view.rank->idx()] : *std::ranges::max_element(bytes);
}

std::string bytes_of(const PerRank& bytes, const PlanView& view) {
    return grouped(static_cast<std::uint64_t>(shown_bytes(bytes, view)));
}

std::string stage_name(std::int64_t stage, std::int64_t num_layers) {
    if (stage == 0) return name_of(StageKind::embeddings, -1);
    if (stage == num_layers + 1) return name_of(StageKind::head, -1);
    return name_of(StageKind::layer, stage - 1);
}

void write_bytes(const char* name, const PerRank& bytes, const PlanView& view, JsonWriter& json) {
    if (view.rank) {
        json.field(name, bytes[view.rank->idx()]);
    } else if (view.shards) {
        json.key(name).list(bytes);
    } else {
        const auto [least, most] = std::ranges::minmax(bytes);
        json.key(name).begin_object().field("min", least).field("max", most);
        json.field("sum", std::accumulate(bytes.begin(), bytes.end(), std::int64_t{0})).end_object();
    }
}

void write_link(const char* name, const sim::Link& link, JsonWriter& json) {
    json.key(name).begin_object().field("latency_us", link.latency_us).field("gb_per_s", link.gb_per_s).end_object();
}

}  // namespace

void print_cost(const StepForecast& forecast, const PlanView& view, std::ostream& out) {
    const sim::Network& network = forecast.options.network;
    const std::string whose = view.rank ? fmt::format("rank {}", view.rank->value()) : "the fullest rank";
    out << fmt::format("\ncost of one forward: {} tokens, routing {}, activations {}; bytes of {}\n",
                       grouped(static_cast<std::uint64_t>(forecast.tokens)), printable(forecast.routing),
                       forecast.options.arithmetic == Arithmetic::f32 ? "F32" : "BF16", whose);
    Table table{{"collective", "kind", "group", "dtype", "calls", "sent a call", "received a call", "us a call"}};
    for (std::size_t column = 4; column < 8; ++column) table.align_right(column);
    for (const sim::CollectiveCost& call : forecast.cost.collectives) {
        table.add({std::string{call.what}, std::string{name_of(call.kind)}, std::string{call.group},
                   std::string{name_of(call.dtype)}, std::to_string(call.stages.size()), bytes_of(call.sent, view),
                   bytes_of(call.received, view), fmt::format("{:.1f}", call.time_us)});
    }
    table.print(out);
    out << fmt::format("  activations {}, dispatch buffers {}\n", bytes_of(forecast.cost.activation_bytes, view),
                       bytes_of(forecast.cost.dispatch_bytes, view));
    out << fmt::format(
        "  communication {:.1f} us, one call after another, if {} ranks a node have {} us and {} GB/s inside it, {} us "
        "and {} GB/s beyond\n",
        forecast.cost.time_us, network.ranks_per_node, network.intra_node.latency_us, network.intra_node.gb_per_s,
        network.inter_node.latency_us, network.inter_node.gb_per_s);
}

void write_cost(const StepForecast& forecast, const PlanView& view, JsonWriter& json) {
    const std::int64_t num_layers = forecast.num_layers;
    json.begin_object().field("tokens", forecast.tokens).field("routing", forecast.routing);
    json.field("dtype", forecast.options.arithmetic == Arithmetic::f32 ? "F32" : "BF16");
    json.key("network").begin_object().field("ranks_per_node", forecast.options.network.ranks_per_node);
    write_link("intra_node", forecast.options.network.intra_node, json);
    write_link("inter_node", forecast.options.network.inter_node, json);
    json.end_object().key("collectives").begin_array();
    for (const sim::CollectiveCost& call : forecast.cost.collectives) {
        json.begin_object().field("what", call.what).field("kind", name_of(call.kind)).field("group", call.group);
        json.field("dtype", name_of(call.dtype)).key("stages").begin_array();
        for (const std::int64_t stage : call.stages) json.value(stage_name(stage, num_layers));
        json.end_array();
        write_bytes("sent", call.sent, view, json);
        write_bytes("received", call.received, view, json);
        json.field("time_us", call.time_us).end_object();
    }
    json.end_array();
    write_bytes("activation_bytes", forecast.cost.activation_bytes, view, json);
    write_bytes("dispatch_bytes", forecast.cost.dispatch_bytes, view, json);
    json.field("time_us", forecast.cost.time_us).end_object();
}

}  // namespace shardproof::reports
