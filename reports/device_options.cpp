#include "reports/device_options.hpp"

#include <fmt/format.h>

#include <charconv>

#include "oracle/model/error.hpp"
#include "reports/option_set.hpp"
#include "reports/text.hpp"

namespace shardproof::reports {

void add_device_options(OptionSet& set, DeviceOptions& options, const std::string& dispatcher_without) {
    set.text({"--transport", "NAME", "of the GPU ranks: nccl or loopback (nccl where it runs, else loopback)"},
             options.transport);
    set.text(
        {"--dispatcher", "NAME", fmt::format("of the GPU ranks: send-receive or windows ({})", dispatcher_without)},
        options.dispatcher);
    set.text({"--grouped-gemm", "NAME", "of the GPU ranks: cutlass or portable (the first that can)"},
             options.grouped_gemm);
    set.text({"--deadline", "SECONDS",
              "a GPU rank gives up waiting after so long; to end its calls may take NCCL 20 s more (60; fuzz: 20)"},
             options.deadline);
}

void require_gpu_for(const DeviceOptions& options, Backend backend) {
    if (backend == Backend::gpu) return require_known_names(options);
    const auto refuse = [](const char* option, const std::string& value) {
        if (value.empty()) return;
        throw InputError({"command line", option, shortened(value), "has a meaning with --backend gpu only"});
    };
    refuse("--transport", options.transport);
    refuse("--dispatcher", options.dispatcher);
    refuse("--grouped-gemm", options.grouped_gemm);
    refuse("--deadline", options.deadline);
}

void require_devices_run(const Plan& plan) {
    const auto refuse = [](const char* rule) { throw InputError({"command line", "--backend", "gpu", rule}); };
    if (plan.config.shared_intermediate_size > 0)
        refuse("must be sim where every token goes through a shared expert: GPU ranks have none");
    const Mesh& sparse = plan.meshes.sparse;
    if (sparse.has(Axis::etp) && (sparse.size(Axis::etp) > 1 || plan.dims.ep() == 1))
        refuse("must be sim where experts are cut in parts of their own, or ep is 1 for these rules");
    for (const ParamPlan& param : plan.params) {
        for (const Placement& placement : param.placement.placements) {
            const auto* const owners = std::get_if<Owners>(&placement);
            if (param.placement.mesh == MeshKind::sparse && owners != nullptr && owners->redundant)
                refuse("must be sim where experts are placed by --expert-map");
        }
    }
}

void add_to(ReplayLine& line, const DeviceOptions& options) {
    if (!options.transport.empty()) line.option("--transport", options.transport);
    if (!options.dispatcher.empty()) line.option("--dispatcher", options.dispatcher);
    if (!options.grouped_gemm.empty()) line.option("--grouped-gemm", options.grouped_gemm);
    if (!options.deadline.empty()) line.option("--deadline", options.deadline);
}

double deadline_of(const DeviceOptions& options, double without) {
    constexpr double kShortest = 0.1;
    constexpr double kLongest = 86400;
    if (options.deadline.empty()) return without;
    double seconds = 0;
    const char* const end = options.deadline.data() + options.deadline.size();
    const auto [stop, error] = std::from_chars(options.deadline.data(), end, seconds);
    if (error != std::errc{} || stop != end || !(seconds >= kShortest) || seconds > kLongest) {
        throw InputError({"command line", "--deadline", shortened(options.deadline),
                          "must be a number of seconds from 0.1 to 86400"});
    }
    return seconds;
}

namespace {

// Wrong words are bad input whatever the machine has. The names are those of the tables in gpu/.
void require_one_of(const char* option, const std::string& value, const char* first, const char* second) {
    if (value.empty() || value == first || value == second) return;
    throw InputError({"command line", option, shortened(value), fmt::format("must be {} or {}", first, second)});
}

}  // namespace

void require_known_names(const DeviceOptions& options) {
    require_one_of("--transport", options.transport, "nccl", "loopback");
    require_one_of("--dispatcher", options.dispatcher, "send-receive", "windows");
    require_one_of("--grouped-gemm", options.grouped_gemm, "cutlass", "portable");
    if (options.transport == "loopback" && options.dispatcher == "windows") {
        throw InputError({"command line", "--dispatcher", "windows",
                          "must not be given with --transport loopback: it stores through NCCL's windows"});
    }
}

std::string dispatcher_of(const DeviceOptions& options) {
    return options.dispatcher.empty() ? "send-receive" : options.dispatcher;
}

std::string grouped_gemm_of(const DeviceOptions& options) {
    return options.grouped_gemm.empty() ? "auto" : options.grouped_gemm;
}

DevicesOptions devices_of(const DeviceOptions& options, std::int64_t world, double deadline_s_without) {
    return {.world = world,
            .transport = options.transport.empty() ? "auto" : options.transport,
            .deadline_s = deadline_of(options, deadline_s_without)};
}

void write_devices(const DevicesUsed& used, JsonWriter& json) {
    const auto text_or_null = [&](std::string_view name, const std::string& text) {
        json.key(name);
        static_cast<void>(text.empty() ? json.null() : json.value(std::string_view{text}));
    };
    json.key("devices").begin_object().field("gpu", used.facts.gpu).field("transport", used.facts.transport);
    text_or_null("nccl", used.facts.nccl.value_or(""));
    text_or_null("dispatcher", used.dispatcher);
    text_or_null("grouped_gemm", used.grouped_gemm);
    json.field("cuda_driver", used.facts.cuda_driver).field("cuda_runtime", used.facts.cuda_runtime);
    text_or_null("note", used.facts.note);
    json.end_object();
}

}  // namespace shardproof::reports
