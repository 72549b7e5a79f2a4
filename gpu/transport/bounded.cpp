#include "gpu/transport/bounded.hpp"

#include <future>
#include <memory>
#include <thread>

#include "gpu/patience.hpp"

namespace shardproof::gpu {

bool ends_within(double seconds, std::function<void()> work) {
    auto ended = std::make_shared<std::promise<void>>();
    const std::future<void> end = ended->get_future();
    std::thread{[work = std::move(work), ended] {
        work();
        ended->set_value();
    }}.detach();
    return end.wait_until(moment_in(seconds)) == std::future_status::ready;
}

}  // namespace shardproof::gpu
