// Rows stored straight into the peers' memory: NCCL's symmetric windows and its device API. The host never waits inside
// a layer. What happens on the device, and why no rank overwrites what another still reads, is in windows.cuh.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "gpu/dispatchers/dispatcher.hpp"

namespace shardproof::gpu {

class WindowsDispatcher : public Dispatcher {
public:
    // Which local rank waited in vain for whom, and where; nullopt while all is well. Never waits.
    [[nodiscard]] virtual std::optional<std::string> trouble() const = 0;
    // Ends the kernels of this process's ranks that wait for a peer, and lets later ones do nothing. To be called
    // before the transport is aborted: a kernel that still polled its peers would read memory that is gone. Waits at
    // most a quarter of a second.
    virtual void stop() noexcept = 0;
};

// nullopt where windows can be had over this transport, else why not: only NCCL's has them, in a build with the headers
// of the device API, with the library of the same version (nccl_version: 23203 for 2.32.3).
[[nodiscard]] std::optional<std::string> windows_why_not(std::string_view transport, int nccl_version);
[[nodiscard]] std::optional<std::string> why_no_windows(const Transport& transport);
// Whether this build had the headers of the device API.
[[nodiscard]] bool windows_were_built();

// A WindowsDispatcher. Throws EnvironmentError: a build without the headers of NCCL 2.32.3, or a library of another
// version. prepare() throws EnvironmentError: too many ranks on one GPU, ranks that cannot reach each other's memory,
// no room; InputError for more experts or peers than a kernel's tables hold.
[[nodiscard]] std::unique_ptr<Dispatcher> make_windows_dispatcher(Transport& transport, Ledger& ledger,
                                                                  std::span<const LocalRank> ranks);

}  // namespace shardproof::gpu
