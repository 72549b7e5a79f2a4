// verify: what another program loaded, judged by content.
#include <fmt/format.h>

#include <memory>
#include <optional>
#include <ostream>
#include <string>

#include "oracle/model/error.hpp"
#include "reports/answer.hpp"
#include "reports/command.hpp"
#include "reports/exit.hpp"
#include "reports/memory.hpp"
#include "reports/options.hpp"
#include "reports/planned_model.hpp"
#include "reports/progress.hpp"
#include "reports/text.hpp"
#include "reports/verify_answer.hpp"

namespace shardproof::reports {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAnyNames = "auto";

struct Options {
    fs::path model;
    LayoutOptions layout;
    std::optional<std::int64_t> layers;
    std::optional<fs::path> shards;
    std::string names = kAnyNames;
    std::string json;
};

// nullptr: whichever fits.
const verify::NameRows* names_called(const std::string& name) {
    if (name == kAnyNames) return nullptr;
    std::string known = kAnyNames;
    for (const verify::NameRows* rows : verify::name_tables()) {
        if (rows->name == name) return rows;
        known += ", " + std::string{rows->name};
    }
    throw InputError({"command line", "--names", shortened(name), "must be one of " + known});
}

// A layout that lacks elements, or has some too often, is wrong before anything was loaded by it.
bool print_violations(const Plan& plan, const Answer& answer) {
    const std::vector<std::string> violations = coverage_violations(plan);
    if (violations.empty()) return false;
    answer.text() << fmt::format("verify: FAILED: rules {} do not cover the model\n", plan.rules);
    for (const std::string& violation : violations) answer.text() << "  " << violation << '\n';
    answer.json([&](JsonWriter& json) {
        json.begin_object().field("ok", false).field("cause", "the layout itself does not cover the model");
        json.key("differences").begin_array().end_array().key("violations").list(violations).end_object();
    });
    return true;
}

int run_verify(const Options& options, const Console& console) {
    if (!options.shards) {
        throw InputError({"command line", "--shards", "",
                          "must be given: the folder with one rank_NNNNN.safetensors a "
                          "rank"});
    }
    const verify::NameRows* names = names_called(options.names);
    const Answer answer(options.json, console, options.model);
    Layout layout = layout_of(options.layout);
    if (layout.given) layout.given->cut_model = options.layers.has_value();
    const PlannedModel model = open_planned_model(options.model, Tensors::needed, options.layers);
    const Plan plan = plan_of(model, layout);
    const verify::Dump dump = verify::Dump::open(*options.shards, plan.world());
    // As the dump has it, as the checkpoint has it, and both as values while a difference is looked into.
    require_memory(6 * verify::memory_needed(plan), "one parameter of a rank", "--layers N");
    if (print_violations(plan, answer)) return exit_failed;
    print_notes(layout, plan, console);
    if (names == nullptr) names = &verify::guess_names(plan, dump);

    std::int64_t bytes = 0;
    for (const std::int64_t of_rank : bytes_per_rank(plan)) bytes += of_rank;
    verify::Report report;
    {
        Progress progress(console, "verifying", bytes);
        report = verify::verify({.plan = plan,
                                 .checkpoint = *model.checkpoint,
                                 .dump = dump,
                                 .names = *names,
                                 .is_cut_model = options.layers.has_value(),
                                 .on_compared = [&](std::int64_t compared) { progress.add(compared); }});
    }
    model.checkpoint->require_intact();
    dump.require_intact();
    for (const std::string& note : report.notes) console.err << "note: " << note << '\n';
    print_report(report, options.shards->string(), answer.text());
    answer.json([&](JsonWriter& json) { write_report(report, json); });
    return report.differences.empty() ? exit_ok : exit_failed;
}

}  // namespace

Action declare_verify(OptionSet& set) {
    const auto options = std::make_shared<Options>();
    add_model(set, options->model);
    add_layout(set, options->layout);
    add_placements(set, options->layout);
    add_layers(set, options->layers);
    set.path({"--shards", "DIR", "what another program loaded: one rank_NNNNN.safetensors a rank"}, options->shards);
    set.text({"--names", "NAMES", "whose names the tensors have: auto, titan, hf or vllm (auto)"}, options->names);
    add_json(set, options->json);
    return [options](const Console& console) { return run_verify(*options, console); };
}

}  // namespace shardproof::reports
