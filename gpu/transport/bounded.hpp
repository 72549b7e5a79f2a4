// What may never come to an end: it is left behind where it does not.
#pragma once
#include <functional>
#include <span>

#include "gpu/transport/transport.hpp"

namespace shardproof::gpu {

// In a thread of its own; false when it has not ended after `seconds`: then it goes on by itself, so it must own all
// that it uses. It must not throw.
[[nodiscard]] bool ends_within(double seconds, std::function<void()> work);

// Polls until the streams of these ranks have done all they were given; false when they have not after `seconds`.
// CUDA's last-error slot is clear then: "not ready" would be taken for the next launch's error.
bool streams_idle_within(double seconds, std::span<const LocalRank> ranks) noexcept;

}  // namespace shardproof::gpu
