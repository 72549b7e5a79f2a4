// synth: a checkpoint of known values, for work with programs whose loading is to be verified.
#include <fmt/format.h>

#include <memory>
#include <ostream>

#include "oracle/model/error.hpp"
#include "reports/answer.hpp"
#include "reports/command.hpp"
#include "reports/exit.hpp"
#include "reports/model_folder.hpp"
#include "reports/option_set.hpp"
#include "reports/options.hpp"
#include "reports/output_folder.hpp"
#include "reports/progress.hpp"
#include "reports/synth.hpp"
#include "reports/text.hpp"

namespace shardproof::reports {
namespace {

namespace fs = std::filesystem;

struct Options {
    fs::path config;
    fs::path out;
    std::optional<std::int64_t> seed;
    std::string dtype;
    std::optional<std::int64_t> shard_bytes_max;
    bool sparse = false;
    std::string json;
};

DType dtype_of(const Options& options, const ModelConfig& config) {
    if (options.dtype.empty()) return config.dtype.value_or(DType::BF16);
    const std::optional<DType> dtype = dtype_named(options.dtype);
    if (!dtype || (*dtype != DType::BF16 && *dtype != DType::F16 && *dtype != DType::F32))
        throw InputError({"command line", "--dtype", shortened(options.dtype), "must be BF16, F16 or F32"});
    return *dtype;
}

SynthOptions synth_options(const Options& options, const ModelConfig& config) {
    SynthOptions synth{.dtype = dtype_of(options, config), .sparse = options.sparse};
    if (options.seed) {
        if (*options.seed < 0)
            throw InputError({"command line", "--seed", std::to_string(*options.seed), "must be >= 0"});
        synth.seed = static_cast<std::uint64_t>(*options.seed);
    }
    if (options.shard_bytes_max) {
        if (*options.shard_bytes_max < 1) {
            throw InputError({"command line", "--max-shard-size", std::to_string(*options.shard_bytes_max),
                              "must be a number of bytes >= 1"});
        }
        synth.shard_bytes_max = static_cast<std::uint64_t>(*options.shard_bytes_max);
    }
    return synth;
}

int run_synth(const Options& options, const Console& console) {
    const Answer answer(options.json, console);
    std::error_code error;
    const fs::path config_file =
        fs::is_directory(options.config, error) ? options.config / "config.json" : options.config;
    const ModelConfig config = read_config(config_file);
    const SynthOptions synth = synth_options(options, config);
    const std::vector<Parameter> parameters = family_of(config).parameters(config);
    const std::vector<SyntheticTensor> tensors = synthetic_tensors(parameters);
    const std::vector<SynthFile> files = split_into_files(tensors, synth);
    require_empty_folder(options.out, "--out");
    OutputFolder out(options.out);
    WrittenModel written;
    for (const SynthFile& file : files) written.add(file.name, file.num_bytes, file.tensors.size());
    if (!synth.sparse) out.require_space(written.num_bytes);
    const fs::path& place = out.place();
    {
        Progress progress(console, "writing", static_cast<std::int64_t>(written.num_bytes));
        for (const SynthFile& file : files)
            write_synth(file, synth, place, [&](std::int64_t bytes) { progress.add(bytes); });
    }
    finish_model_folder(place, files.size() == 1 ? std::nullopt : std::optional{index_of(files, synth.dtype)},
                        config_file);
    out.commit();
    report_written_model(options.out, written, answer, [&](JsonWriter& json) {
        json.field("seed", synth.seed).field("dtype", name_of(synth.dtype)).field("sparse", synth.sparse);
    });
    return exit_ok;
}

}  // namespace

Action declare_synth(OptionSet& set) {
    const auto options = std::make_shared<Options>();
    set.argument("CONFIG", "a config.json", options->config);
    set.path({"--out", "DIR", "new folder for the checkpoint", Need::required}, options->out);
    set.integer("--seed", "what values are a function of, beside tensor and coordinate (0)", options->seed);
    set.text({"--dtype", "NAME", "BF16, F16 or F32 (config.json's word, else BF16)"}, options->dtype);
    set.integer("--max-shard-size", "bytes of tensors in a file (5000000000)", options->shard_bytes_max);
    set.flag("--sparse", "true headers, holes instead of values", options->sparse);
    add_json(set, options->json);
    return [options](const Console& console) { return run_synth(*options, console); };
}

}  // namespace shardproof::reports
