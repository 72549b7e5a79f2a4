// Fuzz on real devices: the same cases, the device laws. A failing case shrinks on the devices and replays anywhere.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "props/device_check.hpp"
#include "props/fuzz.hpp"

namespace shardproof::props {

// Ranks of the largest world that is tried; larger random cases are passed over.
inline constexpr std::int64_t kDeviceWorldMax = 16;

struct DeviceFuzzOptions {
    FuzzOptions fuzz;          // seconds, cases, seed, law, corpus, replay, mutants, plant as there
    std::string dispatcher;    // the laws of this one only; "": of all
    std::string grouped_gemm;  // of the table; "": drawn from each case's seeds
    double deadline_s = 20;    // of each wait
    // Makes devices for kDeviceWorldMax ranks anew, when those at hand are of no use any more. Throws EnvironmentError.
    std::function<std::unique_ptr<Devices>()> make;
};

// What is wrong with the options whatever devices there are. Throws InputError: no such law, a law of another
// dispatcher, a case to replay that has too many ranks or that no such law applies to.
void require_fuzzable(const DeviceFuzzOptions& options);

// Laws that were asked for and that these devices cannot run, by name why. Throws EnvironmentError where none is left.
[[nodiscard]] std::map<std::string, std::string> laws_left_out(const DeviceFuzzOptions& options,
                                                               const Devices& devices);

// `devices` are the first to be used. Laws that they cannot run are left out, and told in the report. A failure whose
// case broke the devices for good is kept, unshrunk, and ends the run. Throws EnvironmentError for what the machine
// lacks, a law that can run among it; InputError where no law applies to a case tried: such a run has judged nothing.
[[nodiscard]] FuzzReport fuzz_devices(const DeviceFuzzOptions& options, std::unique_ptr<Devices> devices);

}  // namespace shardproof::props
