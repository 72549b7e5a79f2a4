#include "reports/verdict_text.hpp"

#include <fmt/format.h>

#include <ostream>

#include "reports/text.hpp"

namespace shardproof::reports {
namespace {

std::string number(double value) { return fmt::format("{:.3g}", value); }

void print_load(const CheckReport& report, std::ostream& out) {
    out << fmt::format("load     {} bytes planned, {} read",
                       grouped(static_cast<std::uint64_t>(report.load.bytes_planned)),
                       grouped(static_cast<std::uint64_t>(report.load.bytes_read)));
    if (report.load.poison_left > 0) {
        out << fmt::format(", {} elements never written\n",
                           grouped(static_cast<std::uint64_t>(report.load.poison_left)));
    } else if (!report.load_ok) {
        out << ", not those that the plan says\n";
    } else {
        out << ", every byte where the plan says\n";
    }
}

}  // namespace

std::string place_text(const Mismatch& failure) {
    std::string text = fmt::format("rank {}", failure.rank.value());
    const auto& at = failure.coordinate;
    if (at.empty()) return text;
    const bool is_activation = at.size() == 3 && failure.layer.find(".w") == std::string::npos &&
                               failure.layer.find("weight") == std::string::npos;
    if (is_activation) return text + fmt::format(", sequence {} position {} column {}", at[0], at[1], at[2]);
    std::string index;
    for (const std::int64_t i : at) index += fmt::format("{}{}", index.empty() ? "" : ",", i);
    return text + fmt::format(", element [{}]", index);
}

void print_check(const CheckReport& report, const std::string& replay, std::ostream& out) {
    print_load(report, out);
    Table table{{"stage", "verdict", "max error", "bound", "error/bound", "tokens", "other experts"}};
    for (std::size_t column = 2; column < 7; ++column) table.align_right(column);
    for (const LayerVerdict& layer : report.verdict.layers) {
        table.add({layer.name, layer.ok ? "ok" : "FAILED", number(layer.max_error), number(layer.bound),
                   fmt::format("{:.3f}", layer.max_ratio), std::to_string(layer.tokens),
                   std::to_string(layer.tokens_with_other_ids)});
    }
    table.print(out);
    const bool is_empty = !report.verdict.layers.empty() && report.verdict.layers.back().tokens == 0;
    if (report.ok() && report.verdict.layers.empty()) {
        out << "verdict  nothing was judged: there is no MoE layer among these\n";
    } else if (report.ok() && is_empty) {
        out << "verdict  the loading holds; there are no tokens, so that no layer was judged\n";
    } else if (report.ok()) {
        out << "verdict  holds: every rank's every layer is within its bound of the oracle's\n";
    } else {
        const Mismatch& failure = *report.failure;
        out << fmt::format("verdict  FAILED at {}, {}: {}\n", failure.layer, place_text(failure), failure.why);
        if (!failure.coordinate.empty()) {
            out << fmt::format("         got {:.9g}, want {:.9g}, bound {:.3g}\n", failure.got, failure.want,
                               failure.bound);
        }
    }
    out << "replay   " << replay << '\n';
}

}  // namespace shardproof::reports
