// Fuzz on real devices: the same cases, the device laws. A failing case shrinks on the devices and replays anywhere.
#pragma once
#include <memory>

#include "props/device_check.hpp"
#include "props/fuzz.hpp"

namespace shardproof::props {

struct DeviceFuzzOptions {
    FuzzOptions fuzz;         // seconds, cases, seed, law, corpus, replay, mutants, plant as there
    DevicesOptions devices;   // world is the largest that cases have
    std::shared_ptr<Devices> made = nullptr;  // of those options, where there are some already
    bool windows = true;      // false: the laws through windows are left out
};

// Throws EnvironmentError for what the machine lacks. Cases whose world is larger than devices.world are passed over.
[[nodiscard]] FuzzReport fuzz_devices(const DeviceFuzzOptions& options);

}  // namespace shardproof::props
