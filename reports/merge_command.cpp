// merge: the shards of one layout, back in the published files.
#include <fmt/format.h>

#include <memory>
#include <ostream>

#include "reports/answer.hpp"
#include "reports/command.hpp"
#include "reports/exit.hpp"
#include "reports/merge.hpp"
#include "reports/model_folder.hpp"
#include "reports/new_file.hpp"
#include "reports/option_set.hpp"
#include "reports/options.hpp"
#include "reports/output_folder.hpp"
#include "reports/progress.hpp"

namespace shardproof::reports {
namespace {

namespace fs = std::filesystem;

struct Options {
    fs::path folder;
    fs::path out;
    std::optional<fs::path> rest;
    std::string json;
};

int run_merge(const Options& options, const Console& console) {
    const Answer answer(options.json, console, options.folder);
    const SavedFolder folder = open_saved_folder(options.folder, std::nullopt);
    const std::optional<Checkpoint> rest = options.rest ? std::optional{Checkpoint::open(*options.rest)} : std::nullopt;
    const std::vector<MergedFile> files = plan_merge(folder, rest);
    require_empty_folder(options.out, "--out");
    OutputFolder out(options.out);
    WrittenModel written;
    for (const MergedFile& file : files) written.add(file.name, file.num_bytes, file.tensors.size());
    out.require_space(written.num_bytes);
    check_saved_bytes(folder, console);
    const fs::path& place = out.place();
    {
        Progress progress(console, "merging", static_cast<std::int64_t>(written.num_bytes));
        for (const MergedFile& file : files) {
            write_merged(file, folder, rest, place, [&](std::int64_t bytes) { progress.add(bytes); });
        }
    }
    finish_model_folder(place, folder.origin->index, options.folder / "config.json");
    out.commit();
    report_written_model(options.out, written, answer);
    return exit_ok;
}

}  // namespace

Action declare_merge(OptionSet& set) {
    const auto options = std::make_shared<Options>();
    set.argument("DIR", "folder that load --out wrote", options->folder);
    set.path({"--out", "MODEL", "new folder for the published files", Need::required}, options->out);
    set.path({"--rest", "MODEL", "take tensors that no shard holds (vision, cut layers) from this model"},
             options->rest);
    add_json(set, options->json);
    return [options](const Console& console) { return run_merge(*options, console); };
}

}  // namespace shardproof::reports
