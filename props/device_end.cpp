#ifdef SHARDPROOF_HAS_GPU
#include "props/device_end.hpp"

#include <cstdio>
#include <exception>
#include <string>
#include <utility>

#include "gpu/transport/bounded.hpp"

namespace shardproof::props {

void end_or_leave(std::shared_ptr<void> last, double seconds, std::string_view what) noexcept {
    try {
        // Held by hand: were no thread to be had, to let it go here would be to wait.
        auto* const held = new std::shared_ptr<void>{std::move(last)};
        if (gpu::ends_within(seconds, [held] { delete held; })) return;
        std::fprintf(stderr, "shardproof: %s did not end within %g s and stays behind\n", std::string{what}.c_str(),
                     seconds);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "shardproof: %s stays behind: %s\n", std::string{what}.c_str(), error.what());
    }
}

}  // namespace shardproof::props
#endif
