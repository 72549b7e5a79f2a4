// inspect: every tensor of a file or a model, from headers alone.
#include <fmt/format.h>

#include <map>
#include <optional>
#include <ostream>
#include <utility>
#include <vector>

#include "oracle/model/checkpoint.hpp"
#include "oracle/model/config.hpp"
#include "oracle/model/error.hpp"
#include "oracle/model/family.hpp"
#include "reports/answer.hpp"
#include "reports/command.hpp"
#include "reports/exit.hpp"
#include "reports/options.hpp"
#include "reports/text.hpp"

namespace shardproof::reports {
namespace {

namespace fs = std::filesystem;

struct Options {
    fs::path path;
    std::string json;
};

struct Inspected {
    Checkpoint checkpoint;
    std::optional<ModelConfig> config;  // of a model
};

Inspected inspect(const fs::path& path) {
    std::error_code error;
    if (path.extension() == ".json" && fs::is_regular_file(path, error)) {
        throw InputError(
            {path.string(), "PATH", "",
             "must be a safetensors file, or the folder of a model: give the folder that this file is in"});
    }
    if (!fs::is_directory(path, error)) return {Checkpoint::from_sources({map_file(path, path.string())}), {}};
    ModelConfig config = read_config(path / "config.json");
    return {Checkpoint::open(path), std::move(config)};
}

// The format makes sure that this does not overflow.
std::uint64_t num_elements(const SafetensorsEntry& entry) {
    std::uint64_t count = 1;
    for (const std::uint64_t extent : entry.shape) count *= extent;
    return count;
}

std::uint64_t num_parameters(const Checkpoint& checkpoint) {
    std::uint64_t count = 0;
    for (const auto& [name, item] : checkpoint.items()) count += num_elements(*item.entry);
    return count;
}

// Of all files; a key that several have is told once, as the first has it.
std::map<std::string, std::string> metadata_of(const Checkpoint& checkpoint) {
    std::map<std::string, std::string> metadata;
    for (const SafetensorsFile& file : checkpoint.files()) {
        metadata.insert(file.header().metadata.begin(), file.header().metadata.end());
    }
    return metadata;
}

const std::string& file_of(const Checkpoint& checkpoint, const Checkpoint::Item& item) {
    return checkpoint.files()[item.file_idx].source().name();
}

void write_json(const Inspected& inspected, JsonWriter& json) {
    const Checkpoint& checkpoint = inspected.checkpoint;
    json.begin_object().key("files").begin_array();
    for (const SafetensorsFile& file : checkpoint.files()) {
        json.begin_object()
            .field("path", file.source().name())
            .field("bytes", file.source().bytes().size())
            .end_object();
    }
    json.end_array().key("metadata").begin_object();
    for (const auto& [key, text] : metadata_of(checkpoint)) json.field(key, text);
    json.end_object().key("tensors").begin_array();
    for (const auto& [name, item] : checkpoint.items()) {
        const SafetensorsEntry& entry = *item.entry;
        json.begin_object().field("name", name).field("dtype", name_of(entry.dtype)).key("shape").list(entry.shape);
        json.field("file", file_of(checkpoint, item)).field("begin", entry.begin).field("end", entry.end).end_object();
    }
    json.end_array().key("family");
    if (inspected.config) {
        json.value(inspected.config->family);
    } else {
        json.null();
    }
    json.field("parameters", num_parameters(checkpoint)).key("active_parameters");
    if (inspected.config) {
        json.value(family_of(*inspected.config).active_parameters(*inspected.config));
    } else {
        json.null();
    }
    json.end_object();
}

std::string shape_text(const std::vector<std::uint64_t>& shape) {
    std::string text;
    for (const std::uint64_t extent : shape) text += (text.empty() ? "" : ",") + std::to_string(extent);
    return '[' + text + ']';
}

void print_config(const ModelConfig& config, std::ostream& out) {
    std::vector<std::int64_t> moe_layers;
    for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
        if (config.is_moe(layer)) moe_layers.push_back(layer);
    }
    const Heads heads = config.heads();
    out << fmt::format("family {}: {} layers, hidden {}, vocabulary {}{}\n", config.family, config.num_layers,
                       config.hidden_size, config.vocab_size, config.tie_embeddings ? " (head tied)" : "");
    out << fmt::format("attention: {} heads, {} kv heads, head dim {}\n", heads.num_heads, heads.num_kv_heads,
                       heads.head_dim);
    out << fmt::format("experts: {} of {} a token, hidden {}, in layers {}\n", config.router.top_k,
                       config.router.num_experts, config.moe_intermediate_size,
                       moe_layers.empty() ? "none" : ranges_text(moe_layers));
    if (config.shared_intermediate_size > 0)
        out << fmt::format("shared expert: hidden {}, every token\n", config.shared_intermediate_size);
}

void print(const Inspected& inspected, std::ostream& out) {
    const Checkpoint& checkpoint = inspected.checkpoint;
    Table table({"tensor", "dtype", "shape", "bytes", "file"});
    table.align_right(3);
    for (const auto& [name, item] : checkpoint.items()) {
        const SafetensorsEntry& entry = *item.entry;
        table.add({printable(name), std::string{name_of(entry.dtype)}, shape_text(entry.shape),
                   grouped(entry.end - entry.begin), printable(file_of(checkpoint, item))});
    }
    table.print(out);
    std::uint64_t bytes = 0;
    for (const SafetensorsFile& file : checkpoint.files()) bytes += file.source().bytes().size();
    out << fmt::format("\n{} tensors in {} files of {}\n", grouped(checkpoint.items().size()),
                       checkpoint.files().size(), bytes_text(bytes));
    for (const auto& [key, text] : metadata_of(checkpoint)) {
        out << fmt::format("metadata {}: {}\n", printable(key), printable(text));
    }
    if (inspected.config) print_config(*inspected.config, out);
    out << fmt::format("parameters: {}", grouped(num_parameters(checkpoint)));
    if (inspected.config) {
        const std::int64_t active = family_of(*inspected.config).active_parameters(*inspected.config);
        out << fmt::format(", active a token: {}", grouped(static_cast<std::uint64_t>(active)));
    }
    out << '\n';
}

std::string note_on_dtype(const Inspected& inspected) {
    if (!inspected.config) return {};
    const std::vector<Parameter> parameters = family_of(*inspected.config).parameters(*inspected.config);
    const auto& items = inspected.checkpoint.items();
    const auto first = items.find(parameters.front().sources.front().tensor);
    return first == items.end() ? std::string{} : dtype_note(*inspected.config, first->second.entry->dtype);
}

int run_inspect(const Options& options, const Console& console) {
    const Answer answer(options.json, console, options.path);
    const Inspected inspected = inspect(options.path);
    for (const std::string& note : inspected.checkpoint.notes()) console.err << "note: " << note << '\n';
    if (const std::string note = note_on_dtype(inspected); !note.empty()) console.err << "note: " << note << '\n';
    if (inspected.config) print_vision_note(*inspected.config, inspected.checkpoint, console);
    print(inspected, answer.text());
    answer.json([&](JsonWriter& json) { write_json(inspected, json); });
    return exit_ok;
}

}  // namespace

Action declare_inspect(OptionSet& set) {
    const auto options = std::make_shared<Options>();
    set.argument("PATH", "a safetensors file, or a MODEL directory", options->path);
    add_json(set, options->json);
    return [options](const Console& console) { return run_inspect(*options, console); };
}

}  // namespace shardproof::reports
