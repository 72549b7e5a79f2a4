// check: plan, load, run and judge. The main job.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>

#include "oracle/model/error.hpp"
#include "props/check.hpp"
#include "reports/answer.hpp"
#include "reports/command.hpp"
#include "reports/device_options.hpp"
#include "reports/exit.hpp"
#include "reports/forward_options.hpp"
#include "reports/memory.hpp"
#include "reports/plant.hpp"
#include "reports/progress.hpp"
#include "reports/reference.hpp"
#include "reports/replay.hpp"
#include "reports/verdict_json.hpp"
#include "reports/verdict_text.hpp"
#include "sim/plan/runnable.hpp"

namespace shardproof::reports {
namespace {

struct Options {
    std::filesystem::path model;
    LayoutOptions layout;
    std::optional<std::int64_t> layers;
    TokenOptions tokens;
    std::string backend = "sim";
    DeviceOptions devices;
    std::string dtype;
    std::optional<std::filesystem::path> reference;
    std::string plant;
    std::string json;
};

std::string replay_of(const Options& options, const Layout& layout) {
    ReplayLine line{"check"};
    line.word(options.model.string()).layout(layout.dims, layout.rules->name);
    if (options.layout.placements) line.option("--placements", options.layout.placements->string());
    if (!options.layout.expert_placement.empty())
        line.option("--vllm-expert-placement-strategy", options.layout.expert_placement);
    if (options.layout.expert_map) line.option("--expert-map", options.layout.expert_map->string());
    if (options.layers) line.option("--layers", *options.layers);
    if (options.tokens.input_ids) {
        line.option("--input-ids", options.tokens.input_ids->string());
    } else {
        line.option("--tokens", options.tokens.tokens.value_or(kDefaultTokens));
    }
    line.option("--seed", options.tokens.seed.value_or(0));
    if (options.backend != "sim") line.option("--backend", options.backend);
    add_to(line, options.devices);
    if (!options.dtype.empty()) line.option("--dtype", options.dtype);
    if (options.reference) line.option("--reference", options.reference->string());
    if (!options.plant.empty()) line.option("--plant", options.plant);
    return line.text();
}

// What a run needs beside the model, whichever backend it is on.
struct Run {
    const Model& model;
    const Plan& plan;  // the healthy one
    const Batch& batch;
    const Planted& planted;
    Arithmetic arithmetic;
    std::uint64_t seed;
};

Plan plan_of(const Model& model, const Layout& layout) {
    if (!layout.given) return make_plan(model, layout.dims, *layout.rules, layout.options);
    return make_plan(model.config, model.parameters, dtypes_of(model), layout.dims, *layout.given);
}

void require_runnable(const Plan& plan, const GivenLayout& given) {
    const std::optional<NotRunnable> reason = not_runnable(plan);
    if (!reason) return;
    throw InputError({given.file, reason->param, "", "cannot be run, only planned and loaded: " + reason->why});
}

// With a bar, which is gone when the answer is printed.
CheckReport checked_on_sim(const Run& run, const Console& console) {
    Progress progress{console, "checking", run.model.config.num_layers + 2};
    return check(run.model, run.planted.plan_to_run(run.plan), run.batch,
                 {.arithmetic = run.arithmetic,
                  .seed = run.seed,
                  .faults = run.planted.faults(),
                  .judged_plan = &run.plan,
                  .loaded_from = run.planted.loaded_from(),
                  .progress = [&](std::int64_t done, std::int64_t) { progress.set(done); }});
}

CheckReport checked_on_gpu(const Run& run, Devices& devices, const DeviceOptions& options, const Console& console) {
    Progress progress{console, "checking", run.model.config.num_layers + 2};
    return devices.check(run.model, run.planted.plan_to_run(run.plan), run.batch,
                         {.arithmetic = run.arithmetic,
                          .seed = run.seed,
                          .dispatcher = dispatcher_of(options),
                          .grouped_gemm = grouped_gemm_of(options),
                          .deadline_s = deadline_of(options),
                          .faults = run.planted.faults(),
                          .judged_plan = &run.plan,
                          .progress = [&](std::int64_t done, std::int64_t) { progress.set(done); }});
}

// Of several processes each judges all ranks and the first one tells; the others tell on standard error why they end
// badly.
int quiet_end(const CheckReport& report, const Console& console) {
    if (report.ok()) return exit_ok;
    console.err << fmt::format("shardproof: {}, {}: {}\n", report.failure->layer, place_text(*report.failure),
                               report.failure->why);
    return exit_failed;
}

void refuse_unfit(const std::string& grouped_gemm, const GroupedGemmChoice& choice) {
    if (choice.why_not) throw InputError({"command line", "--grouped-gemm", grouped_gemm, *choice.why_not});
}

// Devices count and place the choices of a group's tokens in 32 bits.
void require_countable(const char* option, std::int64_t tokens, const ModelConfig& config) {
    const std::int64_t most = std::numeric_limits<std::int32_t>::max() / std::max<std::int64_t>(config.router.top_k, 1);
    if (tokens <= most) return;
    throw InputError(
        {"command line", option, std::to_string(tokens),
         fmt::format("must be 0 .. {} tokens with --backend gpu, each with {} experts", most, config.router.top_k)});
}

// What no devices would take, said before any are looked for.
void require_fit_for_devices(const Options& options, const Plan& plan, Arithmetic arithmetic) {
    if (!plan.config.first_moe_layer()) {
        throw InputError({options.model.string(), "layers", std::to_string(plan.config.num_layers),
                          "must have an MoE layer among them: --backend gpu judges no others"});
    }
    constexpr int kNewest = 90;
    const std::string grouped_gemm = grouped_gemm_of(options.devices);
    refuse_unfit(grouped_gemm, choose_grouped_gemm(plan, arithmetic, grouped_gemm, kNewest));
}

void require_dispatcher(const Devices& devices, const std::string& dispatcher) {
    if (const auto why = devices.why_not(dispatcher)) {
        // Nothing is missing where loopback was asked for, or is all that one rank needs.
        const DevicesFacts facts = devices.facts();
        if (facts.transport == "loopback" && facts.note.empty())
            throw InputError({"command line", "--dispatcher", dispatcher, "does not go with this layout: " + *why});
        throw EnvironmentError(fmt::format("dispatcher {}: {}", dispatcher, *why),
                               "supply that, or use --dispatcher send-receive");
    }
}

// Devices that can run the plan, and what to say of them.
struct DevicesAtHand {
    std::unique_ptr<Devices> devices;
    std::optional<OnDevices> told;
};

DevicesAtHand find_devices(const Options& options, const DevicesOptions& wanted, const Plan& plan,
                           Arithmetic arithmetic) {
    const std::string dispatcher = dispatcher_of(options.devices);
    const std::string grouped_gemm = grouped_gemm_of(options.devices);
    std::unique_ptr<Devices> devices = make_devices(wanted);
    require_dispatcher(*devices, dispatcher);
    const GroupedGemmChoice choice = devices->grouped_gemm(plan, arithmetic, grouped_gemm);
    refuse_unfit(grouped_gemm, choice);
    OnDevices told{.used = {.facts = devices->facts(),
                            .dispatcher = dispatcher,
                            .grouped_gemm = fmt::format("{}", fmt::join(choice.rows, " and "))},
                   .seed = static_cast<std::uint64_t>(options.tokens.seed.value_or(0))};
    return {.devices = std::move(devices), .told = std::move(told)};
}

int run_check(const Options& options, const Console& console) {
    const Answer answer(options.json, console, options.model);
    const Backend backend = backend_of(options.backend, false);
    const Arithmetic arithmetic = arithmetic_of(options.dtype, backend);
    require_gpu_for(options.devices, backend);
    Layout layout = layout_of(options.layout);
    if (layout.given) layout.given->cut_model = options.layers.has_value();
    require_runnable(layout.dims);
    const DevicesOptions wanted = devices_of(options.devices, layout.dims.world());
    const Model model = open_cut_model(options.model, options.layers);
    if (backend == Backend::gpu) require_countable("--tokens", options.tokens.tokens.value_or(0), model.config);
    const InputIds ids = input_ids_of(options.tokens, model.config);
    if (backend == Backend::gpu) require_countable("--input-ids", std::ssize(ids.ids), model.config);
    const Plan plan = plan_of(model, layout);
    // A plan that does not hold the model, or contradicts what its code declares, fails as it stands: no rank runs it.
    std::optional<Mismatch> unsound = judge_coverage(plan);
    if (!unsound) unsound = judge_declarations(plan);
    if (layout.given && !unsound) require_runnable(plan, *layout.given);
    const Batch batch = deal_batch(ids.ids, ids.num_sequences, ids.sequence_length, layout.dims.batch());
    if (backend == Backend::gpu) {
        require_devices_run(plan);
        require_fit_for_devices(options, plan, arithmetic);
    }
    require_memory(forward_bytes(plan, ids, true), "check", "--layers N");
    const Planted planted = plant(options.plant, backend, model, plan, batch);
    std::optional<Reference> reference;
    if (options.reference) reference.emplace(*options.reference, ids, model.config);

    DevicesAtHand at_hand;
    if (backend == Backend::gpu && !unsound) at_hand = find_devices(options, wanted, plan, arithmetic);
    Devices* const devices = at_hand.devices.get();

    const Run run{.model = model,
                  .plan = plan,
                  .batch = batch,
                  .planted = planted,
                  .arithmetic = arithmetic,
                  .seed = static_cast<std::uint64_t>(options.tokens.seed.value_or(0))};
    if (devices && !devices->is_first_process())
        return quiet_end(checked_on_gpu(run, *devices, options.devices, console), console);
    print_notes(layout, plan, console);
    print_vision_note(model.config, model.checkpoint, console);
    answer.text() << fmt::format("check    {}: {} layers, {} tokens in {} sequences, {} ranks, {}\n",
                                 printable(options.model.string()), model.config.num_layers, ids.ids.size(),
                                 ids.num_sequences, plan.world(), plan.rules);
    if (devices) {
        answer.text() << fmt::format("devices  {}; {}, grouped GEMM by {}: the MoE layers\n", devices->describe(),
                                     at_hand.told->used.dispatcher, at_hand.told->used.grouped_gemm);
    }
    CheckReport report = unsound   ? failed_before_loading(plan, std::move(*unsound))
                         : devices ? checked_on_gpu(run, *devices, options.devices, console)
                                   : checked_on_sim(run, console);
    if (reference && report.ok()) report.failure = reference->judge(model, batch);
    if (reference && report.ok()) {
        answer.text() << fmt::format("oracle   gives the logits of {}\n", printable(options.reference->string()));
    }
    const std::string replay = replay_of(options, layout);
    model.checkpoint.require_intact();  // of bytes that changed while they were read nothing can be said
    print_check(report, replay, answer.text());
    answer.json([&](JsonWriter& json) { write_check(report, plan, options.backend, replay, at_hand.told, json); });
    return report.ok() ? exit_ok : exit_failed;
}

}  // namespace

Action declare_check(OptionSet& set) {
    const auto options = std::make_shared<Options>();
    add_model(set, options->model);
    add_layout(set, options->layout);
    add_placements(set, options->layout);
    add_layers(set, options->layers);
    add_input_ids(set, options->tokens);
    add_random_tokens(set, options->tokens);
    set.text({"--backend", "NAME", "sim or gpu (sim)"}, options->backend);
    add_device_options(set, options->devices);
    add_dtype(set, options->dtype);
    set.path({"--reference", "FILE", "safetensors file with the tensor logits [B,S,V]: judges the oracle"},
             options->reference);
    set.text({"--plant", "ID", "plant this known fault, to see what a failure looks like"}, options->plant);
    add_json(set, options->json);
    return [options](const Console& console) { return run_check(*options, console); };
}

}  // namespace shardproof::reports
