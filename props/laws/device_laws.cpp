#include "props/laws/device_laws.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "oracle/model/error.hpp"
#include "sim/prng.hpp"

namespace shardproof::props {
namespace {

bool has_moe_layer(const Case& c) { return static_cast<std::int64_t>(c.model.dense_layers.size()) < c.model.layers; }
// Windows carry rows where experts are parallel.
bool by_windows(const Case& c) { return has_moe_layer(c) && c.layout.ep > 1 && c.layout.world() <= kWindowsWorldMax; }

DeviceCheckOptions options_of(const Subject& subject, const DeviceLaw& law, const DeviceHow& how) {
    DeviceCheckOptions options;
    options.arithmetic = subject.c().arithmetic;
    options.seed = subject.c().scheduler_seed;
    options.dispatcher = law.dispatcher;
    options.grouped_gemm = how.grouped_gemm;
    options.deadline_s = how.deadline_s;
    options.faults = subject.faults();
    options.judged_plan = &subject.healthy_plan();
    return options;
}

std::string told(const Mismatch& mismatch, std::string_view dispatcher) {
    std::string at;
    for (const std::int64_t i : mismatch.coordinate) at += (at.empty() ? "" : ",") + std::to_string(i);
    return fmt::format("{} over {}, rank {}, [{}]: {}: got {:.9g}, want {:.9g}, bound {:.3g}", mismatch.layer,
                       dispatcher, mismatch.rank.value(), at, mismatch.why, mismatch.got, mismatch.want,
                       mismatch.bound);
}

std::optional<std::string> layer_holds(Subject& subject, Devices& devices, const DeviceLaw& law, const DeviceHow& how,
                                       DeviceSeen& seen) {
    const CheckReport report =
        devices.check(subject.model(), subject.plan(), subject.batch(), options_of(subject, law, how));
    if (report.failure) return told(*report.failure, law.dispatcher);
    for (const LayerVerdict& layer : report.verdict.layers) {
        seen.max_ratio = std::max(seen.max_ratio, layer.max_ratio);
        seen.tokens += layer.tokens;
        seen.tokens_with_other_ids += layer.tokens_with_other_ids;
    }
    return std::nullopt;
}

std::optional<std::string> integers_hold(Subject& subject, Devices& devices, const DeviceLaw& law, const DeviceHow& how,
                                         DeviceSeen&) {
    const auto bad = devices.check_carrying(subject.model(), subject.plan(), subject.batch(),
                                            options_of(subject, law, how), subject.c().model.seed);
    if (!bad) return std::nullopt;
    return told(*bad, law.dispatcher);
}

constexpr std::array kLaws{
    DeviceLaw{.name = "gpu.send-receive.layer",
              .says = "every MoE layer within its bound of the oracle's, and the device's dispatch plan "
                      "that of the pure function",
              .dispatcher = "send-receive",
              .multiplies = true,
              .applies = has_moe_layer,
              .fn = layer_holds},
    DeviceLaw{.name = "gpu.send-receive.integers",
              .says = "small integers carried to experts and back are exact",
              .dispatcher = "send-receive",
              .multiplies = false,
              .applies = has_moe_layer,
              .fn = integers_hold},
    DeviceLaw{.name = "gpu.windows.layer",
              .says = "the same through symmetric windows",
              .dispatcher = "windows",
              .multiplies = true,
              .applies = by_windows,
              .fn = layer_holds},
    DeviceLaw{.name = "gpu.windows.integers",
              .says = "the same through symmetric windows",
              .dispatcher = "windows",
              .multiplies = false,
              .applies = by_windows,
              .fn = integers_hold},
};

}  // namespace

std::span<const DeviceLaw> device_laws() { return kLaws; }

std::vector<const DeviceLaw*> device_laws_named(std::string_view name, std::string_view dispatcher) {
    std::vector<const DeviceLaw*> found;
    std::string names;
    for (const DeviceLaw& law : kLaws) {
        if (!dispatcher.empty() && law.dispatcher != dispatcher) continue;
        names += (names.empty() ? "" : ", ") + std::string{law.name};
        if (name.empty() || law.name == name || law.name.starts_with(std::string{name} + ".")) found.push_back(&law);
    }
    if (found.empty()) {
        const std::string with = dispatcher.empty() ? "" : fmt::format(" with --dispatcher {}", dispatcher);
        throw InputError{{"command line", "--law", std::string{name}, fmt::format("must be one of {}{}", names, with)}};
    }
    return found;
}

std::string drawn_grouped_gemm(const Case& c) {
    return sim::Prng{c.model.seed ^ c.scheduler_seed}.below(4) > 0 ? "auto" : "portable";
}

}  // namespace shardproof::props
