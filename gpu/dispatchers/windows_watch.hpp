// The host's side of waiting on the device: the stop word of the process, and what each local rank reported.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gpu/buffer.hpp"
#include "gpu/dispatchers/windows.cuh"
#include "gpu/transport/transport.hpp"

namespace shardproof::gpu {

class WindowsWatch {
public:
    // `ranks` outlives it.
    WindowsWatch(std::span<const LocalRank> ranks, double deadline_s);
    // What the kernels of a local rank are given.
    [[nodiscard]] WindowWatch of(std::size_t local_idx) const;
    // Whose bits the reports of that local rank mean.
    void names(std::size_t local_idx, const RankGroup& group) { peers_[local_idx] = group.ranks; }

    // Nobody waits any longer, and later kernels do nothing. Waits a little for those that run.
    void stop() noexcept;
    [[nodiscard]] std::optional<std::string> trouble() const;

private:
    [[nodiscard]] WindowReport* report_of(std::size_t local_idx) const;
    [[nodiscard]] std::int32_t* stop_word() const;
    [[nodiscard]] bool stopped() const;

    std::span<const LocalRank> ranks_;
    std::int64_t deadline_ns_;
    PinnedBytes pinned_;  // a report for each local rank, then the stop word
    std::vector<DeviceArray<std::int32_t>> claimed_;
    std::vector<std::vector<Rank>> peers_;
};

}  // namespace shardproof::gpu
