#include "gpu/transport/bounded.hpp"

#include <algorithm>
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

bool streams_idle_within(double seconds, std::span<const LocalRank> ranks) noexcept {
    const auto until = moment_in(seconds);
    const auto idle = [](const LocalRank& local) { return cudaStreamQuery(local.stream.raw()) != cudaErrorNotReady; };
    Patience patience;
    bool all_idle = std::ranges::all_of(ranks, idle);
    while (!all_idle && std::chrono::steady_clock::now() < until) {
        (void)patience.pause();
        all_idle = std::ranges::all_of(ranks, idle);
    }
    (void)cudaGetLastError();
    return all_idle;
}

}  // namespace shardproof::gpu
