// Session: devices, streams, communicators. Made once, shared by many worlds.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "gpu/machine.hpp"
#include "gpu/transport/processes.hpp"
#include "gpu/transport/transport.hpp"

namespace shardproof::gpu {

struct SessionOptions {
    std::string transport = "auto";  // "auto": nccl where it runs, else loopback
    std::int64_t world = 1;          // ranks that this session can run at most
    double deadline_s = 60;
};

class Session {
public:
    // Throws InputError: not as many ranks as processes were launched. Throws EnvironmentError: no GPU, NCCL missing or
    // too old for several ranks on one GPU.
    Session(const SessionOptions& options, const Processes& processes);
    ~Session();
    [[nodiscard]] Transport& transport();
    [[nodiscard]] const Machine& machine() const;
    [[nodiscard]] std::span<const LocalRank> local_ranks() const;  // of options.world ranks
    [[nodiscard]] Store* store();  // nullptr where one process runs all ranks
    [[nodiscard]] const Processes& processes() const;
    // Processes of this node whose ranks are on that device, this one among them.
    [[nodiscard]] std::int64_t processes_on(int device) const;
    [[nodiscard]] std::string describe() const;
    // Where "auto" took loopback although there are several ranks: what NCCL lacks. Else empty.
    [[nodiscard]] std::string_view why_not_nccl() const;

    struct Impl;

private:
    std::unique_ptr<Impl> impl_;
};

}  // namespace shardproof::gpu
