// check: plan, load, run and judge. The main job.
#include <fmt/format.h>

#include <memory>
#include <optional>
#include <ostream>
#include <string>

#include "oracle/model/error.hpp"
#include "props/check.hpp"
#include "reports/answer.hpp"
#include "reports/command.hpp"
#include "reports/exit.hpp"
#include "reports/forward_options.hpp"
#include "reports/memory.hpp"
#include "reports/plant.hpp"
#include "reports/progress.hpp"
#include "reports/reference.hpp"
#include "reports/replay.hpp"
#include "reports/verdict_json.hpp"
#include "reports/verdict_text.hpp"

namespace shardproof::reports {
namespace {

struct Options {
    std::filesystem::path model;
    LayoutOptions layout;
    std::optional<std::int64_t> layers;
    TokenOptions tokens;
    std::string backend = "sim";
    std::string dtype;
    std::optional<std::filesystem::path> reference;
    std::string plant;
    std::string json;
};

std::string replay_of(const Options& options, const Layout& layout) {
    ReplayLine line{"check"};
    line.word(options.model.string()).layout(layout.dims, layout.rules->name);
    if (options.layers) line.option("--layers", *options.layers);
    if (options.tokens.input_ids) {
        line.option("--input-ids", options.tokens.input_ids->string());
    } else {
        line.option("--tokens", options.tokens.tokens.value_or(kDefaultTokens));
    }
    line.option("--seed", options.tokens.seed.value_or(0));
    if (!options.dtype.empty()) line.option("--dtype", options.dtype);
    if (options.reference) line.option("--reference", options.reference->string());
    if (!options.plant.empty()) line.option("--plant", options.plant);
    return line.text();
}

// With a bar, which is gone when the answer is printed.
CheckReport checked(const Model& model, const Plan& plan, const Batch& batch, CheckOptions options,
                    const Console& console) {
    Progress progress{console, "checking", model.config.num_layers + 2};
    options.progress = [&](std::int64_t done, std::int64_t) { progress.set(done); };
    return check(model, plan, batch, options);
}

int run_check(const Options& options, const Console& console) {
    const Answer answer(options.json, console, options.model);
    static_cast<void>(backend_of(options.backend, false));
    const Arithmetic arithmetic = arithmetic_of(options.dtype);
    const Layout layout = layout_of(options.layout);
    sim::require_runnable(layout.dims);
    const Model model = open_cut_model(options.model, options.layers);
    const InputIds ids = input_ids_of(options.tokens, model.config);
    const Plan plan = make_plan(model, layout.dims, *layout.rules);
    const Batch batch = deal_batch(ids.ids, ids.num_sequences, ids.sequence_length, layout.dims.batch());
    require_memory(forward_bytes(plan, ids, true), "check", "--layers N");
    const Planted planted = plant(options.plant, model, plan, batch);
    std::optional<Reference> reference;
    if (options.reference) reference.emplace(*options.reference, ids, model.config);

    print_notes(layout, plan, console);
    answer.text() << fmt::format("check    {}: {} layers, {} tokens in {} sequences, {} ranks, {}\n",
                                 printable(options.model.string()), model.config.num_layers, ids.ids.size(),
                                 ids.num_sequences, plan.world(), plan.rules);
    CheckReport report = checked(model, planted.plan_to_run(plan), batch,
                                 {.arithmetic = arithmetic,
                                  .seed = static_cast<std::uint64_t>(options.tokens.seed.value_or(0)),
                                  .faults = planted.faults(),
                                  .judged_plan = &plan,
                                  .progress = {}},
                                 console);
    if (reference && report.ok()) report.failure = reference->judge(model, batch);
    if (reference && report.ok()) {
        answer.text() << fmt::format("oracle   gives the logits of {}\n", printable(options.reference->string()));
    }
    const std::string replay = replay_of(options, layout);
    print_check(report, replay, answer.text());
    answer.json([&](JsonWriter& json) { write_check(report, plan, replay, json); });
    return report.ok() ? exit_ok : exit_failed;
}

}  // namespace

Action declare_check(OptionSet& set) {
    const auto options = std::make_shared<Options>();
    add_model(set, options->model);
    add_layout(set, options->layout);
    add_layers(set, options->layers);
    add_input_ids(set, options->tokens);
    add_random_tokens(set, options->tokens);
    set.text({"--backend", "NAME", "sim or gpu (sim)"}, options->backend);
    add_dtype(set, options->dtype);
    set.path({"--reference", "FILE", "safetensors file with the tensor logits [B,S,V]: judges the oracle"},
             options->reference);
    set.text({"--plant", "ID", "plant this known fault, to see what a failure looks like"}, options->plant);
    add_json(set, options->json);
    return [options](const Console& console) { return run_check(*options, console); };
}

}  // namespace shardproof::reports
