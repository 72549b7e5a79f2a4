#include "gpu/dispatchers/windows_watch.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "gpu/transport/bounded.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {
namespace {

std::string_view place_of(WindowPhase phase) {
    switch (phase) {
        case WindowPhase::none:
            break;
        case WindowPhase::prepare:
            return "before the first layer";
        case WindowPhase::counts:
            return "in dispatch, counts";
        case WindowPhase::rows:
            return "in dispatch, rows";
        case WindowPhase::back:
            return "in combine";
        case WindowPhase::room:
            return "more rows than they have room for: a token chose an expert twice";
    }
    SP_ASSERT(false);
}

std::string list_of(const std::uint32_t* bits, const std::vector<Rank>& peers) {
    std::string list;
    for (std::size_t i = 0; i < peers.size(); ++i) {
        if ((bits[i / 32] >> (i % 32) & 1U) == 0) continue;
        list += (list.empty() ? "" : ",") + std::to_string(peers[i].value());
    }
    return "[" + list + "]";
}

}  // namespace

WindowsWatch::WindowsWatch(std::span<const LocalRank> ranks, double deadline_s)
    : ranks_{ranks},
      deadline_ns_{static_cast<std::int64_t>(deadline_s * 1e9)},
      pinned_{static_cast<std::int64_t>((ranks.size() + 1) * sizeof(WindowReport))},
      peers_(ranks.size()) {
    std::ranges::fill(pinned_.bytes(), std::byte{0});
    for (const LocalRank& local : ranks_) {
        const DeviceScope scope{local.device};
        claimed_.emplace_back(1);
        check(cudaMemsetAsync(claimed_.back().data(), 0, sizeof(std::int32_t), local.stream.raw()));
    }
}

WindowReport* WindowsWatch::report_of(std::size_t local_idx) const {
    return reinterpret_cast<WindowReport*>(pinned_.bytes().data()) + local_idx;
}

std::int32_t* WindowsWatch::stop_word() const { return &report_of(ranks_.size())->phase; }

WindowWatch WindowsWatch::of(std::size_t local_idx) const {
    return {.stop = stop_word(),
            .report = report_of(local_idx),
            .claimed = claimed_[local_idx].data(),
            .deadline_ns = deadline_ns_};
}

bool WindowsWatch::stopped() const { return *static_cast<volatile std::int32_t*>(stop_word()) != 0; }

void WindowsWatch::stop() noexcept {
    *static_cast<volatile std::int32_t*>(stop_word()) = 1;
    // A kernel that waits leaves within a millisecond or two, one that stores rows a little later. A stream that is
    // still busy then is so with something else; kernels of ours that come behind it do nothing.
    constexpr double kLeave_s = 0.25;
    (void)streams_idle_within(kLeave_s, ranks_);
}

std::optional<std::string> WindowsWatch::trouble() const {
    if (!stopped()) return std::nullopt;
    std::string text;
    for (std::size_t i = 0; i < ranks_.size(); ++i) {
        const auto phase = static_cast<WindowPhase>(*static_cast<volatile std::int32_t*>(&report_of(i)->phase));
        if (phase == WindowPhase::none) continue;
        text += (text.empty() ? "" : "; ") + std::string{"rank "} + std::to_string(ranks_[i].rank.value());
        text += phase == WindowPhase::room ? " found for ranks " : " waits for ranks ";
        text += list_of(report_of(i)->missing, peers_[i]);
        text += (phase == WindowPhase::room ? " " : ", ") + std::string{place_of(phase)};
    }
    return "windows: " + (text.empty() ? "stopped" : text);
}

}  // namespace shardproof::gpu
