// fuzz: random models, layouts, tokens and faults against every law; --mutants plants known faults and says what killed
// them.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "oracle/model/error.hpp"
#include "props/corpus.hpp"
#include "props/device_fuzz.hpp"
#include "props/fuzz.hpp"
#include "props/laws/device_laws.hpp"
#include "props/laws/law.hpp"
#include "props/mutants/mutant.hpp"
#include "reports/answer.hpp"
#include "reports/command.hpp"
#include "reports/device_options.hpp"
#include "reports/exit.hpp"
#include "reports/forward_options.hpp"
#include "reports/fuzz_answer.hpp"
#include "reports/option_set.hpp"
#include "reports/progress.hpp"
#include "reports/replay.hpp"
#include "reports/text.hpp"

namespace shardproof::reports {
namespace {

struct Options {
    std::optional<double> seconds;
    std::optional<std::int64_t> cases;
    std::optional<std::int64_t> seed;
    std::string backend = "sim";
    DeviceOptions devices;
    std::string law;
    std::optional<std::string> replay;
    std::optional<std::vector<std::string>> mutants;
    std::string json;
};

double parse_seconds(const std::string& text) {
    double value = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{} || stop != end || !(value > 0) || value > 1e7)
        throw InputError({"command line", "--seconds", shortened(text), "must be a number of seconds above 0"});
    return value;
}

// "m03,m13"; nothing at all stands for all.
std::vector<std::string> ids_of(const std::string& text) {
    std::vector<std::string> ids;
    for (std::size_t at = 0; !text.empty() && at <= text.size();) {
        const std::size_t comma = std::min(text.find(',', at), text.size());
        if (comma == at)
            throw InputError({"command line", "--mutants", shortened(text), "must be ids with commas between"});
        ids.push_back(text.substr(at, comma - at));
        at = comma + 1;
    }
    return ids;
}

props::FuzzOptions fuzz_options(const Options& options, Backend backend) {
    if (options.cases && *options.cases < 1)
        throw InputError({"command line", "--cases", std::to_string(*options.cases), "must be >= 1"});
    if (options.replay && options.mutants) {
        throw InputError(
            {"command line", "--replay", shortened(*options.replay), "must not be given together with --mutants"});
    }
    props::FuzzOptions fuzz;
    fuzz.seconds = options.seconds;
    fuzz.cases = options.cases;
    fuzz.seed = static_cast<std::uint64_t>(options.seed.value_or(0));
    fuzz.law = options.law;
    if (!options.replay && !options.mutants) fuzz.corpus = props::corpus();
    if (options.replay) fuzz.replay.push_back(props::parse_case(*options.replay));
    fuzz.mutants = options.mutants;
    // Both refuse what they do not know; it is too late for that once the answer has begun.
    if (!fuzz.law.empty() && backend == Backend::sim) static_cast<void>(props::laws_named(fuzz.law));
    if (fuzz.mutants) {
        const auto named = props::mutants_named(*fuzz.mutants);
        if (backend == Backend::gpu && std::ranges::none_of(named, &props::Mutant::on_devices))
            throw InputError({"command line", "--mutants", fuzz.mutants->front(), "must be one that devices take"});
    }
    return fuzz;
}

// Refuses what no devices would take, before any are looked for.
props::DeviceFuzzOptions device_options(const Options& options, props::FuzzOptions fuzz) {
    const DevicesOptions wanted = devices_of(options.devices, props::kDeviceWorldMax, kDeadlineOfFuzz_s);
    props::DeviceFuzzOptions on_devices{.fuzz = std::move(fuzz),
                                        .dispatcher = options.devices.dispatcher,
                                        .grouped_gemm = options.devices.grouped_gemm,
                                        .deadline_s = wanted.deadline_s,
                                        .make = [wanted] { return make_devices(wanted); }};
    props::require_fuzzable(on_devices);
    const auto laws = props::device_laws_named(options.law, options.devices.dispatcher);
    const auto by_windows = [](const props::DeviceLaw* law) { return law->dispatcher == "windows"; };
    if (options.devices.transport == "loopback" && std::ranges::all_of(laws, by_windows)) {
        throw InputError({"command line", "--law", options.law,
                          "must not be given with --transport loopback: it stores through NCCL's windows"});
    }
    require_one_process("fuzz");
    return on_devices;
}

std::string replay_of(const Options& options) {
    ReplayLine line{"fuzz"};
    if (options.backend != "sim") line.option("--backend", options.backend);
    add_to(line, options.devices);
    return line.word("--replay").text();
}

// With a bar, which is gone when the answer is printed. Time or cases bound the run; a tenth of a second is one step.
template <class Fuzz>
props::FuzzReport with_progress(props::FuzzOptions& fuzz, const Console& console, Fuzz&& run) {
    const bool timed = fuzz.seconds.has_value();
    Progress progress{console, "fuzzing",
                      timed ? static_cast<std::int64_t>(*fuzz.seconds * 10) : fuzz.cases.value_or(1000)};
    fuzz.progress = [&](const props::FuzzProgress& at) {
        progress.set(timed ? static_cast<std::int64_t>(at.seconds * 10) : at.cases);
    };
    return run();
}

int told(const props::FuzzReport& report, const Options& options, const std::optional<DevicesUsed>& used,
         const Answer& answer) {
    const std::string replay = replay_of(options);
    print_fuzz(report, replay, answer.text());
    answer.json([&](JsonWriter& json) { write_fuzz(report, replay, used, json); });
    return report.ok ? exit_ok : exit_failed;
}

int fuzz_on_gpu(const Options& options, props::FuzzOptions fuzz, const Answer& answer, const Console& console) {
    props::DeviceFuzzOptions on_devices = device_options(options, std::move(fuzz));
    // The devices are there before the answer begins, or it is said that there are none.
    std::unique_ptr<Devices> devices = on_devices.make();
    const auto left_out = props::laws_left_out(on_devices, *devices);
    const DevicesUsed used{.facts = devices->facts(),
                           .dispatcher = options.devices.dispatcher,
                           .grouped_gemm = options.devices.grouped_gemm};
    for (const auto& [law, why] : left_out) console.err << fmt::format("note: law {} is left out: {}\n", law, why);
    answer.text() << fmt::format("seed     {}\n", on_devices.fuzz.seed);
    answer.text() << fmt::format("devices  {}\n", devices->describe());
    const props::FuzzReport report =
        with_progress(on_devices.fuzz, console, [&] { return props::fuzz_devices(on_devices, std::move(devices)); });
    return told(report, options, used, answer);
}

int run_fuzz(const Options& options, const Console& console) {
    const Answer answer(options.json, console);
    const Backend backend = backend_of(options.backend, false);
    require_gpu_for(options.devices, backend);
    props::FuzzOptions fuzz = fuzz_options(options, backend);
    if (backend == Backend::gpu) return fuzz_on_gpu(options, std::move(fuzz), answer, console);
    answer.text() << fmt::format("seed     {}\n", fuzz.seed);
    const props::FuzzReport report = with_progress(fuzz, console, [&] { return props::fuzz(fuzz); });
    return told(report, options, std::nullopt, answer);
}

}  // namespace

Action declare_fuzz(OptionSet& set) {
    const auto options = std::make_shared<Options>();
    set.value({"--seconds", "N", "stop after so many seconds"},
              [options](const std::string& text) { options->seconds = parse_seconds(text); });
    set.integer("--cases", "stop after so many cases (1000)", options->cases);
    add_seed(set, "the same seed gives the same cases (0)", options->seed);
    set.text({"--backend", "NAME", "sim or gpu (sim)"}, options->backend);
    add_device_options(set, options->devices, "the laws of both");
    set.text({"--law", "NAME", "one law, or all of one subject (all)"}, options->law);
    set.text({"--replay", "CASE", "run this case alone"}, options->replay);
    set.optional_value({"--mutants", "ID,...", "plant these known faults (all) and say which law kills each"},
                       [options](const std::string& text) { options->mutants = ids_of(text); });
    add_json(set, options->json);
    return [options](const Console& console) { return run_fuzz(*options, console); };
}

}  // namespace shardproof::reports
