// plan: who holds what, from config.json alone where there are no tensors.
#include <fmt/format.h>
#include <fnmatch.h>

#include <memory>
#include <optional>
#include <ostream>
#include <string>

#include "oracle/model/error.hpp"
#include "reports/answer.hpp"
#include "reports/command.hpp"
#include "reports/cost_print.hpp"
#include "reports/exit.hpp"
#include "reports/memory.hpp"
#include "reports/options.hpp"
#include "reports/plan_json.hpp"
#include "reports/plan_memory.hpp"
#include "reports/plan_text.hpp"
#include "reports/planned_model.hpp"
#include "reports/text.hpp"

namespace shardproof::reports {
namespace {

struct Options {
    std::filesystem::path model;
    LayoutOptions layout;
    std::optional<std::int64_t> rank;
    std::optional<std::string> params;
    bool summary = false;
    CostOptions cost;
    std::string json;
};

PlanView view_of(const Options& options, const Plan& plan) {
    PlanView view{.rank = {}, .params = {}, .shards = !options.summary};
    if (options.rank) {
        if (*options.rank < 0 || *options.rank >= plan.world()) {
            throw InputError({"command line", "--rank", std::to_string(*options.rank),
                              fmt::format("must be a rank of the world, 0 .. {}", plan.world() - 1)});
        }
        view.rank = Rank{*options.rank};
    }
    for (std::size_t i = 0; i < plan.params.size(); ++i) {
        if (options.params && fnmatch(options.params->c_str(), plan.params[i].parameter.name.c_str(), 0) != 0) continue;
        view.params.push_back(i);
    }
    if (options.params && view.params.empty()) {
        throw InputError({"command line", "--params", shortened(*options.params), "matches no parameter"});
    }
    return view;
}

// With pipeline stages there are meshes and groups, and no placement of parameters.
void refuse_params_of_stages(const Options& options, PlannedModel& model, const Layout& layout) {
    if (layout.dims.pp() == 1) return;
    if (options.params) {
        throw InputError(
            {"command line", "--pp", std::to_string(layout.dims.pp()), "must be 1 where parameters are planned"});
    }
    model.parameters.clear();
    model.dtypes.clear();
}

int run_plan(const Options& options, const Console& console) {
    const Answer answer(options.json, console, options.model);
    const Layout layout = layout_of(options.layout);
    PlannedModel model = open_planned_model(options.model, Tensors::optional, {});
    refuse_params_of_stages(options, model, layout);
    const Plan plan = plan_of(model, layout);
    PlanView view = view_of(options, plan);
    const std::optional<StepForecast> forecast = forecast_of(options.cost, plan, layout.given.has_value());
    require_memory(plan_bytes(plan.meshes), fmt::format("a plan of {} ranks", plan.world()), "plan fewer ranks");
    view.violations = coverage_violations(plan);
    print_notes(layout, plan, console);
    if (model.checkpoint) print_vision_note(model.config, *model.checkpoint, console);
    if (layout.dims.pp() > 1) {
        console.err << fmt::format("note: --pp={}: meshes and groups only, parameters are planned with --pp 1\n",
                                   layout.dims.pp());
    }
    print_plan(plan, view, answer.text());
    if (forecast) print_cost(*forecast, view, answer.text());
    answer.json([&](JsonWriter& json) {
        const std::function<void(JsonWriter&)> cost = [&](JsonWriter& writer) { write_cost(*forecast, view, writer); };
        write_plan(plan, view, json, forecast ? cost : nullptr);
    });
    return exit_ok;
}

}  // namespace

Action declare_plan(OptionSet& set) {
    const auto options = std::make_shared<Options>();
    add_model(set, options->model);
    add_layout(set, options->layout);
    add_placements(set, options->layout);
    set.integer("--rank", "show the shards of this rank only", options->rank);
    set.text({"--params", "GLOB", "show the parameters whose names match GLOB only"}, options->params);
    set.flag("--summary", "leave out shards", options->summary);
    add_cost_options(set, options->cost);
    add_json(set, options->json);
    return [options](const Console& console) { return run_plan(*options, console); };
}

}  // namespace shardproof::reports
