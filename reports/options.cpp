#include "reports/options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ostream>
#include <utility>

#include "oracle/model/error.hpp"
#include "reports/placements_file.hpp"
#include "reports/text.hpp"

namespace shardproof::reports {
namespace {

constexpr const char* kDefaultRules = "titan-infer";

bool has_vllm_words(const LayoutOptions& options) {
    return options.vllm_data_parallel || options.vllm_tensor_parallel || options.vllm_expert_parallel;
}

void require_no_own_words(const LayoutOptions& options) {
    const auto refuse = [](std::string_view name, const std::optional<std::int64_t>& value) {
        if (!value) return;
        throw InputError({"command line", std::string{name}, std::to_string(*value),
                          "must not be given together with vLLM's words"});
    };
    refuse("--dp-replicate", options.dp_replicate);
    refuse("--dp-shard", options.dp_shard);
    refuse("--cp", options.cp);
    refuse("--tp", options.tp);
    refuse("--pp", options.pp);
    refuse("--ep", options.ep);
    refuse("--etp", options.etp);
}

std::int64_t at_least_one(std::string_view name, std::int64_t value) {
    if (value < 1) throw InputError({"command line", std::string{name}, std::to_string(value), "must be >= 1"});
    return value;
}

// TorchTitan's mapping of vLLM's words.
RawDims from_vllm(const LayoutOptions& options) {
    require_no_own_words(options);
    RawDims raw;
    raw.dp_shard = at_least_one("--vllm-data-parallel-size", options.vllm_data_parallel.value_or(1));
    raw.tp = at_least_one("--vllm-tensor-parallel-size", options.vllm_tensor_parallel.value_or(1));
    std::int64_t ranks = 0;
    if (__builtin_mul_overflow(raw.dp_shard, raw.tp, &ranks)) {
        throw InputError({"command line", "--vllm-data-parallel-size", std::to_string(raw.dp_shard),
                          "times --vllm-tensor-parallel-size must be a number of ranks"});
    }
    raw.ep = options.vllm_expert_parallel ? ranks : 1;
    return raw;
}

}  // namespace

void add_model(OptionSet& set, std::filesystem::path& model) {
    set.argument("MODEL", "directory with config.json and its safetensors", model);
}

void add_layout(OptionSet& set, LayoutOptions& options) {
    set.group("Layout");
    set.integer("--dp-replicate", "replicas of the data-parallel group (1)", options.dp_replicate);
    set.integer("--dp-shard", "data-parallel shards (1; -1: derived from --world)", options.dp_shard);
    set.integer("--cp", "context-parallel degree (1)", options.cp);
    set.integer("--tp", "tensor-parallel degree (1)", options.tp);
    set.integer("--pp", "pipeline-parallel degree (1)", options.pp);
    set.integer("--ep", "expert-parallel degree (1); divides dp_shard*cp*tp", options.ep);
    set.integer("--etp", "tensor-parallel degree of experts (that of --tp), with --rules megatron", options.etp);
    set.integer("--world", "number of ranks: the degrees must multiply to it", options.world);
    set.on_or_off("sp", "sequence parallelism (off)", options.sequence_parallel);
    set.text({"--rules", "NAME", "rule set (titan-infer)"}, options.rules);
    set.integer("--vllm-data-parallel-size", "vLLM's word for --dp-shard", options.vllm_data_parallel);
    set.integer("--vllm-tensor-parallel-size", "vLLM's word for --tp", options.vllm_tensor_parallel);
    set.flag("--vllm-enable-expert-parallel", "with vLLM's words: ep = dp * tp", options.vllm_expert_parallel);
    set.text({"--vllm-expert-placement-strategy", "NAME", "with --rules vllm: experts linear or round_robin (linear)"},
             options.expert_placement);
    set.path({"--expert-map", "FILE", "with --rules vllm: JSON with physical_to_logical_map, slot to expert"},
             options.expert_map);
    set.group("Options");
}

void add_placements(OptionSet& set, LayoutOptions& options) {
    set.path({"--placements", "FILE", "instead of --rules: placements or shards as plan --json prints them"},
             options.placements);
}

void add_layers(OptionSet& set, std::optional<std::int64_t>& layers) {
    set.integer("--layers", "the first N layers only, then final norm and head", layers);
}

void add_json(OptionSet& set, std::string& target) {
    set.text({"--json", "FILE", "the answer for machines, to FILE; - for standard output"}, target);
}

bool has_layout(const LayoutOptions& options) {
    return has_vllm_words(options) || options.dp_replicate || options.dp_shard || options.cp || options.tp ||
           options.pp || options.ep || options.etp || !options.expert_placement.empty() || options.expert_map ||
           options.world || options.sequence_parallel || options.rules;
}

namespace {

bool has_degrees(const LayoutOptions& options) {
    return has_vllm_words(options) || options.dp_replicate || options.dp_shard || options.cp || options.tp ||
           options.pp || options.ep || options.etp;
}

RawDims typed_dims(const LayoutOptions& options, std::string& note) {
    RawDims raw;
    if (has_vllm_words(options)) {
        raw = from_vllm(options);
        note = fmt::format("vLLM's words taken as --dp-shard {} --tp {} --ep {}", raw.dp_shard, raw.tp, raw.ep);
    } else {
        raw.dp_replicate = options.dp_replicate.value_or(1);
        raw.dp_shard = options.dp_shard.value_or(1);
        raw.cp = options.cp.value_or(1);
        raw.tp = options.tp.value_or(1);
        raw.pp = options.pp.value_or(1);
        raw.ep = options.ep.value_or(1);
    }
    raw.world = options.world;
    raw.sequence_parallel = options.sequence_parallel;
    raw.etp = options.etp;
    return raw;
}

// The degrees that a file says: refused by their place in it.
ParallelDims dims_of_file(const RawDims& raw, const std::string& file) {
    try {
        return ParallelDims::parse(raw);
    } catch (const InputError& error) {
        InputError::Parts parts = error.parts();
        if (parts.field == "--world") throw;
        parts.file = file;
        parts.field = "dims." + parts.field.substr(2);
        std::ranges::replace(parts.field, '-', '_');
        throw InputError(std::move(parts));
    }
}

// Degrees typed and degrees of the file must be the same; either alone will do.
Layout given_layout_of(const LayoutOptions& options) {
    if (options.rules) {
        throw InputError(
            {"command line", "--rules", shortened(*options.rules), "must not be given together with --placements"});
    }
    if (!options.expert_placement.empty() || options.expert_map) {
        throw InputError({"command line", options.expert_map ? "--expert-map" : "--vllm-expert-placement-strategy", "",
                          "must not be given together with --placements"});
    }
    PlacementsFile read = read_placements(*options.placements);
    const std::string& file = read.layout.file;
    std::string note;
    RawDims raw = typed_dims(options, note);
    if (!has_degrees(options) && !options.world && !read.dims) {
        throw InputError({"command line", "--dp-shard", "",
                          fmt::format("must be given, or another degree: {} has no dims", printable(file))});
    }
    std::optional<ParallelDims> typed;
    if (has_degrees(options) || !read.dims) typed = ParallelDims::parse(raw);
    std::optional<ParallelDims> said;
    if (read.dims) {
        read.dims->world = options.world;
        read.dims->sequence_parallel = options.sequence_parallel;
        said = dims_of_file(*read.dims, file);
    }
    if (typed && said) {
        const auto same = [&](std::string_view option, std::int64_t ours, std::int64_t theirs) {
            if (ours == theirs) return;
            throw InputError({"command line", std::string{option}, std::to_string(ours),
                              fmt::format("must be {}, as {} says, or be left out", theirs, printable(file))});
        };
        same("--dp-replicate", typed->dp_replicate(), said->dp_replicate());
        same("--dp-shard", typed->dp_shard(), said->dp_shard());
        same("--cp", typed->cp(), said->cp());
        same("--tp", typed->tp(), said->tp());
        same("--pp", typed->pp(), said->pp());
        same("--ep", typed->ep(), said->ep());
        same("--etp", typed->etp(), said->etp());
    }
    const ParallelDims dims = said ? *said : *typed;
    if (read.world && *read.world != dims.world()) {
        throw InputError({file, "world", std::to_string(*read.world),
                          fmt::format("must be {}, which the degrees multiply to", dims.world())});
    }
    return {dims, &rule_set_named(kDefaultRules), {}, std::move(note), std::move(read.layout)};
}

[[noreturn]] void refuse_etp(const RuleSet& rules, std::int64_t etp) {
    throw InputError(
        {"command line", "--etp", std::to_string(etp), fmt::format("must not be given for rules {}", rules.name)});
}

// Where --etp was not typed a refusal says where its value comes from.
ParallelDims parse_with_etp_of_tp(const RawDims& raw) {
    try {
        return ParallelDims::parse(raw);
    } catch (const InputError& error) {
        InputError::Parts parts = error.parts();
        if (parts.field == "--etp") parts.rule = "that of --tp where it is not given, " + parts.rule;
        throw InputError(std::move(parts));
    }
}

}  // namespace

Layout layout_of(const LayoutOptions& options) {
    if (options.placements) return given_layout_of(options);
    std::string note;
    RawDims raw = typed_dims(options, note);
    const RuleSet& rules = rule_set_named(options.rules.value_or(kDefaultRules));
    if (raw.etp && !rules.takes_etp) refuse_etp(rules, *raw.etp);
    const bool etp_is_tp = rules.takes_etp && !raw.etp;
    if (etp_is_tp) raw.etp = raw.tp;
    RuleOptions rule_options{
        .expert_order = expert_order_named(options.expert_placement), .expert_map = {}, .expert_map_file = {}};
    if (options.expert_map) {
        rule_options.expert_map = read_expert_map(*options.expert_map);
        rule_options.expert_map_file = options.expert_map->string();
    }
    if (rule_options.expert_order == ExpertOrder::round_robin) {
        if (!note.empty()) note += "\nnote: ";
        note +=
            "vLLM places experts round-robin only in models with expert groups (num_expert_group above 1), without "
            "redundant experts; in others it falls back to linear";
    }
    return {etp_is_tp ? parse_with_etp_of_tp(raw) : ParallelDims::parse(raw), &rules, std::move(rule_options),
            std::move(note)};
}

std::string dtype_note(const ModelConfig& config, DType of_tensors) {
    if (!config.dtype || *config.dtype == of_tensors) return {};
    return fmt::format("config.json says {}, the tensors are {}: the tensors decide", name_of(*config.dtype),
                       name_of(of_tensors));
}

void print_notes(const Layout& layout, const Plan& plan, const Console& console) {
    if (!layout.note.empty()) console.err << "note: " << layout.note << '\n';
    if (!plan.params.empty()) {
        const std::string note = dtype_note(plan.config, plan.params.front().dtype);
        if (!note.empty()) console.err << "note: " << note << '\n';
    }
    for (const std::string& warning : plan.warnings) console.err << "warning: " << warning << '\n';
}

void print_vision_note(const ModelConfig& config, const Checkpoint& checkpoint, const Console& console) {
    const std::string note = vision_note(config, checkpoint);
    if (!note.empty()) console.err << "note: " << note << '\n';
}

void require_directory(const std::filesystem::path& model) {
    std::error_code error;
    if (std::filesystem::exists(model, error) && !std::filesystem::is_directory(model, error))
        throw InputError({model.string(), "MODEL", "", "must be a directory with config.json and its safetensors"});
}

}  // namespace shardproof::reports
