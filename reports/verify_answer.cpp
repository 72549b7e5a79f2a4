#include "reports/verify_answer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "oracle/model/error.hpp"
#include "reports/text.hpp"

namespace shardproof::reports {
namespace {

constexpr std::size_t kDifferencesShown = 20;

std::string coordinates_in_words(const std::vector<std::int64_t>& at) {
    std::string text;
    for (const std::int64_t i : at) text += (text.empty() ? "" : ",") + std::to_string(i);
    return "[" + text + "]";
}

void print_difference(const verify::Difference& difference, std::ostream& out) {
    out << fmt::format("rank {}: {}: {}", difference.rank.value(), printable(difference.param),
                       name_of(difference.kind));
    for (const verify::Kind kind : difference.also) out << ", " << name_of(kind);
    out << fmt::format("\n    expected {}\n    found    {}\n", difference.expected, difference.found);
    if (difference.first) {
        out << fmt::format("    {} wrong, first at {}\n", grouped(static_cast<std::uint64_t>(difference.count)),
                           coordinates_in_words(*difference.first));
    }
}

void write_difference(const verify::Difference& difference, JsonWriter& json) {
    json.begin_object().field("rank", difference.rank.value()).field("param", difference.param);
    json.field("kind", name_of(difference.kind)).key("also").begin_array();
    for (const verify::Kind kind : difference.also) json.value(name_of(kind));
    json.end_array().field("expected", difference.expected).field("found", difference.found).key("found_experts");
    if (difference.found_experts.empty()) {
        json.null();
    } else {
        json.list(difference.found_experts);
    }
    json.key("found_rank");
    if (difference.found_rank) {
        json.value(difference.found_rank->value());
    } else {
        json.null();
    }
    if (!difference.dtype_path.empty()) json.field("dtype_path", difference.dtype_path);
    json.key("first");
    if (difference.first) {
        json.list(*difference.first);
    } else {
        json.null();
    }
    json.field("count", difference.count).end_object();
}

}  // namespace

void print_report(const verify::Report& report, const std::string& folder, std::ostream& out) {
    const std::size_t count = report.differences.size();
    for (std::size_t i = 0; i < std::min(count, kDifferencesShown); ++i) print_difference(report.differences[i], out);
    if (count > kDifferencesShown) out << fmt::format("... and {} more\n", count - kDifferencesShown);
    if (report.cause) out << fmt::format("cause: {}\n", *report.cause);
    out << fmt::format("{}: {} differences in {} ({} names), {} compared\n", count == 0 ? "ok" : "FAILED", count,
                       printable(folder), report.names, bytes_text(static_cast<std::uint64_t>(report.bytes_compared)));
}

void write_report(const verify::Report& report, JsonWriter& json) {
    json.begin_object().field("ok", report.differences.empty()).key("cause");
    if (report.cause) {
        json.value(*report.cause);
    } else {
        json.null();
    }
    json.field("names", report.names).field("bytes_compared", report.bytes_compared).key("notes").list(report.notes);
    json.key("differences").begin_array();
    for (const verify::Difference& difference : report.differences) write_difference(difference, json);
    json.end_array().end_object();
}

}  // namespace shardproof::reports
