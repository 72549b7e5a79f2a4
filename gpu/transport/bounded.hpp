// Runs what may never return, and leaves it behind where it does not.
#pragma once
#include <functional>

namespace shardproof::gpu {

// In a thread of its own; false when it has not ended after `seconds`: then it goes on by itself, so it must own all
// that it uses. It must not throw.
[[nodiscard]] bool ends_within(double seconds, std::function<void()> work);

}  // namespace shardproof::gpu
