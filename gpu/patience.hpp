// Patience: how a host thread polls. First without pause, for what is done in microseconds, then with sleeps.
#pragma once
#include <chrono>
#include <thread>

namespace shardproof::gpu {

class Patience {
public:
    // Returns soon. True when it slept: time to look at what costs more to look at.
    bool pause() {
        if (std::chrono::steady_clock::now() < spin_until_) return false;
        std::this_thread::sleep_for(kSleep);
        return true;
    }

private:
    static constexpr std::chrono::microseconds kSpin{200};
    static constexpr std::chrono::microseconds kSleep{50};
    std::chrono::steady_clock::time_point spin_until_ = std::chrono::steady_clock::now() + kSpin;
};

// A moment `seconds` from now; what is too far to count is ten years.
[[nodiscard]] inline std::chrono::steady_clock::time_point moment_in(double seconds) {
    constexpr double kFar = 10 * 365.0 * 24 * 3600;
    const double bounded = seconds < kFar ? seconds : kFar;
    return std::chrono::steady_clock::now() +
           std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(bounded));
}

}  // namespace shardproof::gpu
