#include "gpu/stream.hpp"

namespace shardproof::gpu {

Stream::Stream() {
    cudaStream_t raw = nullptr;
    check(cudaStreamCreateWithFlags(&raw, cudaStreamNonBlocking));
    handle_.reset(raw);
}

Event::Event(Timing timing) {
    cudaEvent_t raw = nullptr;
    check(cudaEventCreateWithFlags(&raw, timing == Timing::on ? cudaEventDefault : cudaEventDisableTiming));
    handle_.reset(raw);
}

void Event::record(StreamView stream) { check(cudaEventRecord(handle_.get(), stream.raw())); }

void Event::hold(StreamView stream) const { check(cudaStreamWaitEvent(stream.raw(), handle_.get(), 0)); }

bool Event::reached() const {
    const cudaError_t code = cudaEventQuery(handle_.get());
    if (code == cudaErrorNotReady) {
        (void)cudaGetLastError();
        return false;
    }
    check(code);
    return true;
}

double Event::milliseconds_since(const Event& earlier) const {
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, earlier.handle_.get(), handle_.get()));
    return static_cast<double>(milliseconds);
}

DeviceScope::DeviceScope(int device) {
    check(cudaGetDevice(&before_));
    check(cudaSetDevice(device));
}

DeviceScope::~DeviceScope() { report_if_failed(cudaSetDevice(before_)); }

}  // namespace shardproof::gpu
