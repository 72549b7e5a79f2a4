#include "props/laws/device_laws.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "oracle/model/error.hpp"

namespace shardproof::props {
namespace {

bool has_moe_layer(const Case& c) { return static_cast<std::int64_t>(c.model.dense_layers.size()) < c.model.layers; }
bool always(const Case& c) { return has_moe_layer(c); }
// Windows carry rows where experts are parallel.
bool by_windows(const Case& c) { return has_moe_layer(c) && c.layout.ep > 1 && c.layout.world() <= kWindowsWorldMax; }

DeviceCheckOptions options_of(Subject& subject, std::string_view dispatcher) {
    DeviceCheckOptions options;
    options.arithmetic = subject.c().arithmetic;
    options.seed = subject.c().scheduler_seed;
    options.dispatcher = dispatcher;
    options.deadline_s = 5;
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

std::optional<std::string> layer_holds(Subject& subject, Devices& devices, std::string_view dispatcher,
                                       DeviceTry& seen) {
    const CheckReport report =
        devices.check(subject.model(), subject.plan(), subject.batch(), options_of(subject, dispatcher));
    seen.stalled = report.stall.has_value();
    for (const LayerVerdict& layer : report.verdict.layers) seen.max_ratio = std::max(seen.max_ratio, layer.max_ratio);
    if (!report.failure) return std::nullopt;
    return told(*report.failure, dispatcher);
}

std::optional<std::string> integers_hold(Subject& subject, Devices& devices, std::string_view dispatcher,
                                         DeviceTry& seen) {
    seen.stalled = false;
    const auto bad = devices.check_carrying(subject.model(), subject.plan(), subject.batch(),
                                            options_of(subject, dispatcher), subject.c().model.seed);
    if (!bad) return std::nullopt;
    return told(*bad, dispatcher);
}

constexpr std::array kLaws{
    DeviceLaw{"gpu.send-receive.layer",
              "every MoE layer within its bound of the oracle's, and the device's dispatch plan "
              "that of the pure function",
              "send-receive", always, layer_holds},
    DeviceLaw{"gpu.send-receive.integers", "small integers carried to experts and back are exact", "send-receive",
              always, integers_hold},
    DeviceLaw{"gpu.windows.layer", "the same through symmetric windows", "windows", by_windows, layer_holds},
    DeviceLaw{"gpu.windows.integers", "the same through symmetric windows", "windows", by_windows, integers_hold},
};

}  // namespace

std::span<const DeviceLaw> device_laws() { return kLaws; }

std::vector<const DeviceLaw*> device_laws_named(std::string_view name) {
    std::vector<const DeviceLaw*> found;
    std::string names;
    for (const DeviceLaw& law : kLaws) {
        names += (names.empty() ? "" : ", ") + std::string{law.name};
        if (name.empty() || law.name == name || law.name.starts_with(std::string{name} + ".")) found.push_back(&law);
    }
    if (found.empty()) throw InputError{{"command line", "--law", std::string{name}, "must be one of " + names}};
    return found;
}

}  // namespace shardproof::props
