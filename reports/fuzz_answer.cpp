#include "reports/fuzz_answer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "reports/text.hpp"

namespace shardproof::reports {
namespace {

void print_traits(const props::FuzzReport& report, std::ostream& out) {
    out << "traits   share of cases\n";
    for (const auto& [name, cases] : report.traits) {
        const double share = report.cases == 0 ? 0.0 : static_cast<double>(cases) / static_cast<double>(report.cases);
        out << fmt::format("  {:<20} {:>5.1f} % {}\n", name, 100.0 * share,
                           std::string(static_cast<std::size_t>(share * 40.0), '#'));
    }
}

void print_mutants(const props::FuzzReport& report, std::ostream& out) {
    Table table{{"mutant", "killed by", "cases", "seconds", "shrunk case"}};
    table.align_right(2);
    table.align_right(3);
    for (const props::MutantReport& mutant : report.mutants) {
        table.add({mutant.id, mutant.killed ? mutant.law : "SURVIVES", std::to_string(mutant.cases),
                   fmt::format("{:.3f}", mutant.seconds), mutant.shrunk});
    }
    table.print(out);
    const auto killed = std::ranges::count_if(report.mutants, &props::MutantReport::killed);
    if (report.unmutated > 0) out << fmt::format("cases    {} tried without a mutant as well\n", report.unmutated);
    out << fmt::format("verdict  {} of {} mutants killed\n", killed, report.mutants.size());
}

void print_failures(const props::FuzzReport& report, const std::string& replay, std::ostream& out) {
    for (const props::FuzzFailure& failure : report.failures) {
        out << fmt::format("FAILED   {}: {}\n", failure.law, failure.message);
        out << fmt::format("replay   {}\n", replay + " " + failure.shrunk);
        if (failure.original != failure.shrunk) out << fmt::format("  was    {}\n", failure.original);
    }
}

void write_mutant(const props::MutantReport& mutant, JsonWriter& json) {
    json.begin_object().field("id", mutant.id).field("killed", mutant.killed).field("law", mutant.law);
    json.field("cases", mutant.cases).field("seconds", mutant.seconds).field("shrunk", mutant.shrunk);
    json.key("other_laws").list(mutant.other_laws);
    json.end_object();
}

}  // namespace

void print_fuzz(const props::FuzzReport& report, const std::string& replay, std::ostream& out) {
    if (!report.mutants.empty()) {
        print_mutants(report, out);
        print_failures(report, replay, out);
        if (!report.failures.empty()) out << "verdict  FAILED: laws are broken without a mutant\n";
        return;
    }
    if (report.corpus > 0) out << fmt::format("corpus   {} cases replayed\n", report.corpus);
    print_traits(report, out);
    out << fmt::format("laws     {}, with the cases in which each had something to look at\n", report.laws.size());
    for (const auto& [name, cases] : report.laws) out << fmt::format("  {:<32} {} cases\n", name, cases);
    out << fmt::format("cases    {} in {:.1f} s, {:.0f} a second\n", report.cases, report.seconds,
                       report.cases_per_second);
    out << fmt::format(
        "bounds   largest error/bound {:.3f}; {} of {} judged tokens chose other experts within the bound\n",
        report.max_ratio, report.tokens_with_other_ids, report.tokens);
    print_failures(report, replay, out);
    out << (report.failures.empty() ? "verdict  no law broken\n" : "verdict  FAILED\n");
}

void write_fuzz(const props::FuzzReport& report, const std::string& replay, const std::optional<DevicesUsed>& devices,
                JsonWriter& json) {
    const auto counts = [&](std::string_view name, const std::map<std::string, std::int64_t>& of) {
        json.key(name).begin_object();
        for (const auto& [key, count] : of) json.field(key, count);
        json.end_object();
    };
    json.begin_object().field("ok", report.ok).field("seed", report.seed).field("cases", report.cases);
    json.field("corpus", report.corpus).field("unmutated", report.unmutated);
    json.field("seconds", report.seconds).field("cases_per_second", report.cases_per_second);
    counts("laws", report.laws);
    counts("traits", report.traits);
    json.field("max_ratio", report.max_ratio);
    json.key("failures").begin_array();
    for (const props::FuzzFailure& failure : report.failures) {
        json.begin_object().field("law", failure.law).field("case", failure.original);
        json.field("shrunk", failure.shrunk).field("message", failure.message);
        json.field("replay", replay + " " + failure.shrunk).end_object();
    }
    json.end_array().key("mutants").begin_array();
    for (const props::MutantReport& mutant : report.mutants) write_mutant(mutant, json);
    json.end_array();
    if (devices) {
        json.key("skipped_laws").begin_object();
        for (const auto& [name, why] : report.skipped_laws) json.field(name, why);
        json.end_object();
        write_devices(*devices, json);
    }
    json.end_object();
}

}  // namespace shardproof::reports
