// run: the forward of a model, by the oracle or on virtual ranks; writes logits.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <ostream>
#include <string>

#include "oracle/model/error.hpp"
#include "oracle/transformer.hpp"
#include "props/check.hpp"
#include "reports/answer.hpp"
#include "reports/command.hpp"
#include "reports/exit.hpp"
#include "reports/forward_options.hpp"
#include "reports/memory.hpp"
#include "reports/progress.hpp"
#include "reports/text.hpp"
#include "sim/forward.hpp"

namespace shardproof::reports {
namespace {

struct Options {
    std::filesystem::path model;
    LayoutOptions layout;
    std::optional<std::int64_t> layers;
    TokenOptions tokens;
    std::string backend;
    std::string dtype;
    std::filesystem::path out;
    std::string json;
};

Tensor logits_tensor(DType dtype, const InputIds& ids, const ModelConfig& config) {
    Tensor logits{.dtype = dtype, .shape = {ids.num_sequences, ids.sequence_length, config.vocab_size}, .bytes = {}};
    logits.bytes.resize(static_cast<std::size_t>(num_elements(logits.shape) * bits_of(dtype) / 8));
    return logits;
}

Tensor run_oracle(const Model& model, const Batch& batch, const InputIds& ids, const Console& console) {
    Progress progress{console, "running", model.config.num_layers + 2};
    const oracle::Logits found = oracle::forward(model.config, model.checkpoint, batch,
                                                 [&](std::int64_t done, std::int64_t) { progress.set(done); });
    Tensor logits = logits_tensor(DType::F64, ids, model.config);
    std::ranges::copy(std::as_bytes(std::span{found.values}), logits.bytes.begin());
    return logits;
}

// Runs all stages and takes each token's logits from the first rank that has them.
Tensor run_sim(const Plan& plan, const Model& model, const Batch& batch, const InputIds& ids,
               const sim::ForwardOptions& options, const Console& console) {
    Progress progress{console, "running", model.config.num_layers + 2};
    sim::Forward forward{plan, model.checkpoint, batch, options};
    sim::StageOutcome stage;
    for (std::int64_t done = 0; !forward.done();) {
        stage = forward.next();
        SP_ASSERT(!stage.stall);  // nothing is planted here
        progress.set(++done);
    }
    Tensor logits = logits_tensor(DType::F32, ids, model.config);
    const std::int64_t row_bytes = model.config.vocab_size * static_cast<std::int64_t>(sizeof(float));
    for (const RankRecord& rank : stage.record.ranks) {
        for (std::size_t i = 0; i < rank.tokens.size(); ++i) {
            const auto row = std::as_bytes(
                std::span{rank.output.row(static_cast<std::int64_t>(i)), static_cast<std::size_t>(rank.output.cols)});
            std::ranges::copy(row, logits.bytes.begin() + rank.tokens[i].value() * row_bytes);
        }
    }
    return logits;
}

// The oracle is one program in double precision: no ranks, one arithmetic.
void refuse_dtype_of_oracle(const Options& options) {
    if (options.dtype.empty()) return;
    throw InputError({"command line", "--dtype", shortened(options.dtype),
                      "has no meaning with --backend oracle, which computes in double precision"});
}

int run_run(const Options& options, const Console& console) {
    const Answer answer(options.json, console, options.model);
    const Backend backend = backend_of(options.backend, true);
    const Arithmetic arithmetic = arithmetic_of(options.dtype, backend);
    const Layout layout = layout_of(options.layout);
    if (backend != Backend::oracle) require_runnable(layout.dims);
    if (backend == Backend::oracle) refuse_dtype_of_oracle(options);
    require_writable(options.out, "--out");
    require_not_of_model(options.out, "--out", options.model);
    if (options.out == std::filesystem::path{options.json})
        throw InputError({"command line", "--json", shortened(options.json), "must not be the file that --out names"});
    const Model model = open_cut_model(options.model, options.layers);
    const InputIds ids = input_ids_of(options.tokens, model.config);
    const Plan plan = make_plan(model, layout.dims, *layout.rules, layout.options);
    if (judge_declarations(plan)) {
        throw InputError({"command line", "--rules", std::string{layout.rules->name},
                          "must be rules that can run: plan shows these, check and load say what is wrong with them"});
    }
    const Batch batch = deal_batch(ids.ids, ids.num_sequences, ids.sequence_length, layout.dims.batch());
    if (backend == Backend::gpu) {
        throw EnvironmentError("run --backend gpu: GPU ranks run MoE layers, not whole models",
                               "use check --backend gpu, or run --backend sim");
    }
    require_memory(backend == Backend::oracle ? oracle_bytes(model.config, ids) : forward_bytes(plan, ids, false),
                   "run", "--layers N");
    print_notes(layout, plan, console);
    print_vision_note(model.config, model.checkpoint, console);
    if (backend == Backend::oracle && has_layout(options.layout))
        console.err << "note: the layout has no meaning with --backend oracle, which knows no ranks\n";

    const Tensor logits = backend == Backend::oracle
                              ? run_oracle(model, batch, ids, console)
                              : run_sim(plan, model, batch, ids, {.arithmetic = arithmetic}, console);
    model.checkpoint.require_intact();
    write_safetensors(options.out, {{"logits", logits.view()}});
    answer.text() << fmt::format("run      {}: logits {} {} written to {}\n", printable(options.model.string()),
                                 name_of(logits.dtype), to_string(logits.shape), printable(options.out.string()));
    answer.json([&](JsonWriter& json) {
        json.begin_object().field("ok", true).field("backend", options.backend).field("out", options.out.string());
        json.field("dtype", name_of(logits.dtype)).key("shape").list(logits.shape).end_object();
    });
    return exit_ok;
}

}  // namespace

Action declare_run(OptionSet& set) {
    const auto options = std::make_shared<Options>();
    add_model(set, options->model);
    add_layout(set, options->layout);
    add_layers(set, options->layers);
    set.text({"--backend", "NAME", "oracle, sim or gpu", Need::required}, options->backend);
    set.path({"--input-ids", "FILE", "safetensors file with an integer tensor input_ids [B,S]", Need::required},
             options->tokens.input_ids);
    set.path({"--out", "FILE", "safetensors file that gets logits [B,S,V]", Need::required}, options->out);
    add_dtype(set, options->dtype);
    add_json(set, options->json);
    return [options](const Console& console) { return run_run(*options, console); };
}

}  // namespace shardproof::reports
