// For tests on real devices: what is missing here, found by looking. With it there, an error of a run is a failure.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#ifdef SHARDPROOF_HAS_GPU
#include "gpu/dispatchers/windows.hpp"
#include "gpu/machine.hpp"
#include "gpu/transport/nccl_library.hpp"
#endif

namespace shardproof::props {

#ifdef SHARDPROOF_HAS_GPU

// Why `world` ranks of one process cannot run over this transport and dispatcher; nullopt: they can.
inline std::optional<std::string> why_no_ranks(const std::string& transport, const std::string& dispatcher,
                                               std::int64_t world) {
    const gpu::Machine machine = gpu::find_machine();
    if (machine.devices.empty()) return "no GPU: " + machine.why_none;
    int version = 0;
    if (transport == "nccl") {
        try {
            version = gpu::NcclLibrary::get().version();
        } catch (const EnvironmentError& missing) {
            return missing.what();
        }
        if (version < gpu::kNcclSharedGpuVersion && world > static_cast<std::int64_t>(machine.devices.size()))
            return "NCCL " + gpu::nccl_version_text(version) + " does not run several ranks of a process on one GPU";
    }
    if (dispatcher == "windows") return gpu::windows_why_not(transport, version);
    return std::nullopt;
}

#else

inline std::optional<std::string> why_no_ranks(const std::string&, const std::string&, std::int64_t) {
    return "this build has no CUDA part";
}

#endif

}  // namespace shardproof::props
