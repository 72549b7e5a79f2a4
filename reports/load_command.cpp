// load: each rank's shards as files, or the manifest of what they would hold, or a comparison with another manifest.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <numeric>
#include <optional>
#include <ostream>
#include <string>

#include "oracle/model/error.hpp"
#include "reports/answer.hpp"
#include "reports/command.hpp"
#include "reports/exit.hpp"
#include "reports/load_ranks.hpp"
#include "reports/load_source.hpp"
#include "reports/manifest_compare.hpp"
#include "reports/memory.hpp"
#include "reports/options.hpp"
#include "reports/output_folder.hpp"
#include "reports/rank_files.hpp"
#include "reports/text.hpp"
#include "sim/plan/declaration.hpp"

namespace shardproof::reports {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kDifferencesShown = 20;
constexpr const char* kManifestFile = "manifest.json";

struct Options {
    std::optional<fs::path> model;
    std::optional<fs::path> from_shards;
    LayoutOptions layout;
    std::optional<std::int64_t> layers;
    std::optional<fs::path> out;
    std::optional<fs::path> against;
    bool dry_run = false;
    std::string json;
};

// A rank file that this load does not write would be taken for a rank of it.
void refuse_other_ranks(const fs::path& folder, std::int64_t world) {
    if (const std::optional<std::string> other = other_rank_file(folder, world)) {
        throw InputError({folder.string(), "--out", shortened(*other),
                          fmt::format("must hold no rank files beyond this world of {}", world)});
    }
}

// What stands in a file's place must be a file: it is replaced, and nothing else may be, here or where a link leads.
void require_replaceable(const fs::path& folder, std::int64_t world) {
    const auto require = [&](const std::string& name) {
        std::error_code error;
        const fs::file_status status = fs::symlink_status(folder / name, error);
        if (!fs::exists(status) || fs::is_regular_file(status)) return;
        throw InputError({folder.string(), "--out", shortened(name),
                          fs::is_symlink(status) ? "must be a file of this folder, not a link"
                                                 : "must be a regular file, or not be there yet"});
    };
    for (const char* name : {kManifestFile, "config.json", kOriginFile}) require(name);
    for (std::int64_t rank = 0; rank < world; ++rank) require(rank_file_name(Rank{rank}));
}

LoadSource open_source(const Options& options) {
    if (options.from_shards && options.model) {
        throw InputError({"command line", "MODEL", shortened(options.model->string()),
                          "must not be given together with --from-shards"});
    }
    if (options.from_shards) return LoadSource::of_shards(*options.from_shards, options.layers);
    if (!options.model) throw InputError({"command line", "MODEL", "", "must be given, or --from-shards"});
    return LoadSource::of_model(*options.model, options.dry_run ? Tensors::optional : Tensors::needed, options.layers);
}

// Files that are read must not be replaced meanwhile.
void require_other_folder(const fs::path& out, const fs::path& source) {
    std::error_code error;
    if (!fs::equivalent(out, source, error)) return;
    throw InputError({out.string(), "--out", "", "must be another folder than the one that is read"});
}

// A plan that does not cover every element cannot be loaded, nor one whose code declares something else; each violation
// names parameter and reason, with axis or rank and index.
bool print_violations(const Plan& plan, const Layout& layout, const Answer& answer) {
    std::vector<std::string> violations = coverage_violations(plan);
    const bool covers = violations.empty();
    for (std::string& line : to_lines(declaration_violations(plan))) violations.push_back(std::move(line));
    if (violations.empty()) return false;
    const std::string whose = layout.given ? printable(layout.given->file) : fmt::format("rules {}", plan.rules);
    answer.text() << fmt::format("load: FAILED: {} {}\n", whose,
                                 !covers ? (layout.given ? "does not cover the model" : "do not cover the model")
                                         : "contradict what their code declares");
    for (const std::string& violation : violations) answer.text() << "  " << violation << '\n';
    answer.json([&](JsonWriter& json) {
        json.begin_object().field("ok", false).key("violations").list(violations).end_object();
    });
    return true;
}

// Everything that can be refused is refused before the folder is made.
std::optional<fs::path> open_folder(const Options& options, const Plan& plan, const RankLoader& loader,
                                    OutputFolder* folder) {
    require_memory(loader.memory_needed(), "the largest shard", "--layers N");
    if (folder == nullptr) return std::nullopt;
    refuse_other_ranks(*options.out, plan.world());
    require_replaceable(*options.out, plan.world());
    if (!options.dry_run) {
        const std::vector<std::int64_t> bytes = bytes_per_rank(plan);
        folder->require_space(static_cast<std::uint64_t>(std::accumulate(bytes.begin(), bytes.end(), std::int64_t{0})));
    }
    // The old manifest goes first: it must not stand beside files that are no longer its own.
    std::error_code ignored;
    fs::remove(folder->place() / kManifestFile, ignored);
    return folder->place();
}

void write_comparison(const Comparison& comparison, JsonWriter& json) {
    json.begin_object().field("ok", comparison.differences.empty());
    json.field("hashes_compared", comparison.hashes_compared).field("hashes_left_out", comparison.hashes_left_out);
    json.key("differences").begin_array();
    for (const Difference& difference : comparison.differences) {
        json.begin_object().key("rank");
        if (difference.rank) {
            json.value(*difference.rank);
        } else {
            json.null();
        }
        json.field("param", difference.param).field("what", difference.what);
        json.field("ours", difference.ours).field("theirs", difference.theirs).end_object();
    }
    json.end_array().end_object();
}

int report_comparison(const Comparison& comparison, const Options& options, const Answer& answer) {
    std::ostream& out = answer.text();
    const std::size_t count = comparison.differences.size();
    for (std::size_t i = 0; i < std::min(count, kDifferencesShown); ++i) {
        out << to_string(comparison.differences[i]) << '\n';
    }
    if (count > kDifferencesShown) out << fmt::format("... and {} more\n", count - kDifferencesShown);
    out << fmt::format("{}: {} differences from {}, {} hashes compared", count == 0 ? "ok" : "FAILED", count,
                       printable(options.against->string()),
                       grouped(static_cast<std::uint64_t>(comparison.hashes_compared)));
    if (comparison.hashes_left_out > 0) {
        out << fmt::format("; {} hashes are null on one side and were left out",
                           grouped(static_cast<std::uint64_t>(comparison.hashes_left_out)));
    }
    out << '\n';
    answer.json([&](JsonWriter& json) { write_comparison(comparison, json); });
    return count == 0 ? exit_ok : exit_failed;
}

// Without --out and without --against the manifest is the answer; it goes where --json says, else to standard output.
void hand_out_manifest(const std::function<void(std::ostream&)>& write, const std::optional<fs::path>& folder,
                       bool is_answer, const Answer& answer) {
    if (folder) {
        write_file(*folder / kManifestFile, "--out", write);
        if (!is_answer) return;
        answer.json_text([&](std::ostream& out) { out << std::ifstream(*folder / kManifestFile).rdbuf(); });
    } else if (is_answer && answer.wants_json()) {
        answer.json_text(write);
    } else {
        std::ostream nowhere{nullptr};
        write(is_answer ? answer.text() : nowhere);
    }
}

int run_load(const Options& options, const Console& console) {
    if (!options.out && !options.against && !options.dry_run) {
        throw InputError({"command line", "--out", "", "must be given: a folder to write, or --against, or --dry-run"});
    }
    const Answer answer(options.json, console, options.from_shards ? *options.from_shards : options.model.value_or(""));
    Layout layout = layout_of(options.layout);
    if (layout.given) layout.given->cut_model = options.layers.has_value();
    const LoadSource source = open_source(options);
    const PlannedModel& model = source.model();
    const Plan plan = plan_of(model, layout);
    const std::optional<Manifest> other =
        options.against ? std::optional{read_manifest(*options.against)} : std::nullopt;
    std::optional<OutputFolder> out;
    if (options.out) {
        require_other_folder(*options.out, source.folder());
        source.require_own_config(*options.out);
    }
    if (options.out) out.emplace(*options.out);
    if (print_violations(plan, layout, answer)) return exit_failed;

    RankLoader loader(plan, options.dry_run ? nullptr : &*model.checkpoint);
    if (!options.dry_run) source.check_bytes(console);
    const std::optional<fs::path> folder = open_folder(options, plan, loader, out ? &*out : nullptr);
    if (folder && !options.dry_run) source.write_beside(*folder);
    print_notes(layout, plan, console);
    if (model.checkpoint) print_vision_note(model.config, *model.checkpoint, console);
    const std::vector<std::int64_t> bytes = bytes_per_rank(plan);
    const std::int64_t bytes_planned = std::accumulate(bytes.begin(), bytes.end(), std::int64_t{0});
    Comparison comparison;
    if (other) compare_heads(manifest_head(plan), other->head, comparison);
    {
        Progress progress(console, "loading", bytes_planned);
        loader.load(folder, progress);
        const auto rank_entry = [&](Rank rank) {
            ManifestRank entry = loader.entry(rank);
            if (other) {
                const auto found = std::ranges::find(other->ranks, rank.value(), &ManifestRank::rank);
                compare_ranks(entry, found == other->ranks.end() ? nullptr : &*found, comparison);
            }
            return entry;
        };
        const auto write = [&](std::ostream& stream) {
            JsonWriter json{stream};
            write_manifest(manifest_head(plan), rank_entry, json);
        };
        hand_out_manifest(write, folder, !other, answer);
    }
    if (other) compare_other_ranks(plan.world(), other->ranks, comparison);
    if (out) {
        out->commit();
        answer.text() << fmt::format("{}: world {}, {} parameters, {}\n", printable(options.out->string()),
                                     grouped(static_cast<std::uint64_t>(plan.world())), plan.params.size(),
                                     options.dry_run
                                         ? "manifest only, no tensor read"
                                         : bytes_text(static_cast<std::uint64_t>(loader.bytes_read())) + " read");
    }
    return other ? report_comparison(comparison, options, answer) : exit_ok;
}

}  // namespace

Action declare_load(OptionSet& set) {
    const auto options = std::make_shared<Options>();
    set.argument("MODEL", "directory with config.json and its safetensors", options->model);
    add_layout(set, options->layout);
    add_placements(set, options->layout);
    add_layers(set, options->layers);
    set.path({"--from-shards", "DIR", "instead of MODEL: a folder that load --out wrote"}, options->from_shards);
    set.path({"--out", "DIR", "write each rank's file and manifest.json into DIR"}, options->out);
    set.flag("--dry-run", "the manifest only; reads no tensor data", options->dry_run);
    set.path({"--against", "FILE", "compare with this manifest.json; exit 1 on a difference"}, options->against);
    add_json(set, options->json);
    return [options](const Console& console) { return run_load(*options, console); };
}

}  // namespace shardproof::reports
