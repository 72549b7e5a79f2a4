// The body of Devices in a build without CUDA.
#include "oracle/model/error.hpp"
#include "props/device_check.hpp"

namespace shardproof {

struct Devices::Impl {};

Devices::Devices(const DevicesOptions&) {
    throw EnvironmentError{"no GPU: this build has no CUDA part",
                           "install a CUDA toolkit (nvcc 13) and build again, or use --backend sim"};
}
Devices::~Devices() = default;
std::string Devices::describe() const { return {}; }
bool Devices::is_first_process() const { return true; }
CheckReport Devices::check(const Model&, const Plan&, const Batch&, const DeviceCheckOptions&) { return {}; }
std::optional<Mismatch> Devices::check_carrying(const Model&, const Plan&, const Batch&, const DeviceCheckOptions&,
                                                std::uint64_t) {
    return std::nullopt;
}

}  // namespace shardproof
