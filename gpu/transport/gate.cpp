#include "gpu/transport/gate.hpp"

#include <condition_variable>
#include <mutex>

#include "gpu/patience.hpp"

namespace shardproof::gpu {

struct Gate::State {
    std::mutex mutex;
    std::condition_variable opened;
    bool open = false;
    std::chrono::steady_clock::duration give_way{};
};

namespace {

// Run by CUDA in a thread of its own, in the place of a kernel.
template <class State>
void wait_at(void* raw) {
    const std::unique_ptr<std::shared_ptr<State>> state{static_cast<std::shared_ptr<State>*>(raw)};
    std::unique_lock lock{(*state)->mutex};
    (*state)->opened.wait_for(lock, (*state)->give_way, [&] { return (*state)->open; });
}

}  // namespace

Gate::Gate(double give_way_s) : state_{std::make_shared<State>()} {
    state_->give_way = moment_in(give_way_s) - std::chrono::steady_clock::now();
}

Gate::~Gate() { open(); }

void Gate::hold(StreamView stream) {
    auto shared = std::make_unique<std::shared_ptr<State>>(state_);
    check(cudaLaunchHostFunc(stream.raw(), &wait_at<State>, shared.get()));
    (void)shared.release();  // wait_at() frees it
}

void Gate::open() noexcept {
    {
        const std::scoped_lock lock{state_->mutex};
        state_->open = true;
    }
    state_->opened.notify_all();
}

}  // namespace shardproof::gpu
